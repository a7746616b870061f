// What tests ask of nostr-tools: one JSON request per line in, one JSON answer per line out.
//   {"do": "publish", "secret": hex, "relays": [..], "kind": n, "content": text, "tags": [..], "encrypt_to": hex?}
//   {"do": "decrypt", "secret": hex, "from": hex, "payload": text}
//   {"do": "verify", "event": {..}}
import { createInterface } from "node:readline";
import { finalizeEvent, verifyEvent } from "nostr-tools/pure";
import * as nip44 from "nostr-tools/nip44";
import { Relay, useWebSocketImplementation } from "nostr-tools/relay";
import WebSocket from "ws";

useWebSocketImplementation(WebSocket);
const octets = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));

async function publish({ secret, relays, kind, content, tags, encrypt_to, created_at }) {
  const key = octets(secret);
  const text = encrypt_to ? nip44.encrypt(content, nip44.getConversationKey(key, encrypt_to)) : content;
  const event = finalizeEvent({ kind, content: text, tags, created_at: created_at ?? Math.floor(Date.now() / 1000) }, key);
  for (const url of relays) {
    const relay = await Relay.connect(url);
    await relay.publish(event);
    relay.close();
  }
  const { id, pubkey, created_at: at, sig } = event;
  return { id, pubkey, created_at: at, kind: event.kind, tags: event.tags, content: event.content, sig };
}

const actions = {
  publish,
  decrypt: ({ secret, from, payload }) => nip44.decrypt(payload, nip44.getConversationKey(octets(secret), from)),
  verify: ({ event }) => verifyEvent(event),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    console.log(JSON.stringify({ answer: await actions[request.do](request) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
process.exit(0);
