// What a page can do beyond being read: copy a command, sign in with a Nostr key, and show what is new without a reload.
"use strict";

function copyButtons(root) {
  if (!navigator.clipboard) return;
  for (const command of root.querySelectorAll("code.command")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = document.documentElement.lang === "es" ? "Copiar" : "Copy";
    button.addEventListener("click", () => navigator.clipboard.writeText(command.textContent).then(() => { button.textContent = "✓"; }));
    command.after(button);
  }
}

async function signInWithKey(told) {
  const url = new URL("/sign-in/key", location.href).href;
  const event = await window.nostr.signEvent({
    kind: 27235, created_at: Math.floor(Date.now() / 1000), tags: [["u", url], ["method", "POST"]], content: "",
  });
  const answer = await fetch(url, { method: "POST", headers: { Authorization: "Nostr " + btoa(JSON.stringify(event)), Accept: "application/json" } });
  if (answer.ok) { location.assign("/"); return; }
  told.textContent = (await answer.json()).error;
  told.hidden = false;
}

function offerKey() {
  const button = document.getElementById("key");
  if (!button || !window.nostr) return;
  const told = document.getElementById("told");
  button.hidden = false;
  document.getElementById("nokey").hidden = true;
  button.addEventListener("click", () => signInWithKey(told).catch((problem) => { told.textContent = String(problem); told.hidden = false; }));
}

function isBusy(main) {
  const active = document.activeElement;
  return document.hidden || (active && main.contains(active) && active !== main) || String(getSelection()).length > 0;
}

async function renew(main) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  if (!fresh || isBusy(main)) return;
  const open = [...main.querySelectorAll("details")].map((one) => one.open);
  main.innerHTML = fresh.innerHTML;
  main.querySelectorAll("details").forEach((one, index) => { one.open = Boolean(open[index]); });
  main.classList.remove("fresh");
  requestAnimationFrame(() => main.classList.add("fresh"));
  copyButtons(main);
}

function live() {
  const main = document.getElementById("main");
  if (!main.dataset.live || !window.EventSource) return;
  let stale = false, asking = false;
  async function look() {
    if (!stale || asking || isBusy(main)) return;
    stale = false;
    asking = true;
    await new Promise((done) => setTimeout(done, Math.random() * 1500));
    await renew(main).catch(() => {});
    asking = false;
  }
  new EventSource(main.dataset.live).addEventListener("changed", () => { stale = true; look(); });
  setInterval(look, 3000);
}

copyButtons(document);
offerKey();
setTimeout(offerKey, 800);
live();
