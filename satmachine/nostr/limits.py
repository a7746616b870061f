"""Every bound of the Nostr side in one place. Pure. Times in seconds, sizes in octets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The defaults suit a few relays and up to ten thousand machines."""

    # One connection.
    open_timeout_s: float = 10.0
    close_timeout_s: float = 2.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    # Two caps, because an oversized event that an honest relay keeps for a stolen machine must not end
    # the connection: beyond the first a message is dropped, beyond the second the connection.
    max_event_bytes: int = 128 * 1024  # a NIP-44 payload has at most 87,472 characters
    max_message_bytes: int = 1024 * 1024

    # Between connections.
    backoff_floor_s: float = 1.0
    backoff_cap_s: float = 300.0
    healthy_after_s: float = 60.0  # how long a connection must have lasted for the backoff to start again
    penalty_s: float = 60.0  # the shortest wait after a flood of faults

    # A relay that a reload removed is heard until its successors are subscribed, but no longer than this,
    # and then for a while, because relays deliver with a delay.
    retire_after_s: float = 30.0
    linger_s: float = 5.0

    # What a relay may do wrong within one connection: so many faults at once, and so many each second.
    fault_burst: int = 200
    faults_per_s: float = 1.0

    # What one REQ asks for. Known relays accept REQs of 128 KiB, and an author takes 67 octets; they send
    # at most 500 stored events for a filter, and a machine has two addressable ones.
    authors_per_filter: int = 250
    filters_per_req: int = 6
    # `since` also filters live events by their author's clock: the overlap is how far a machine's clock may
    # be behind, or how late it may publish a sale, without being missed.
    since_overlap_s: int = 3 * 86_400
    # A thief may keep as many addressable events there as the relay allows: more than this are not asked for.
    stored_telemetry: int = 500

    # From the sockets to the sink.
    batch_size: int = 500
    flush_after_s: float = 0.05
    settlement_queue: int = 10_000
    telemetry_queue: int = 10_000
    # Each of the two queues in memory: it limits events of 128 KiB, and no author has more than a
    # quarter. What counts is roughly what an event needs as Python objects: see `weight_of`.
    queue_bytes: int = 32 * 1024 * 1024
    batch_bytes: int = 4 * 1024 * 1024
    # From one author in a batch: what arrives meanwhile waits for the end of the batch, and a flood fills only one.
    batch_per_author: int = 100
    telemetry_attempts: int = 5  # after this many failures of the sink a batch of telemetry is given up
    retry_floor_s: float = 0.1
    retry_cap_s: float = 30.0
    drain_timeout_s: float = 5.0
    seen_ids: int = 100_000  # per generation; there are two

    # One machine's settlements: so many at once (days of sales that a relay has kept), and so many each second. Far
    # more than it can sell, so only a stolen key reaches it; what is refused here, the wallet's sweep finds.
    settlement_burst: int = 20_000
    settlements_per_s: float = 0.5
    settlement_burst_bytes: int = 48 * 1024 * 1024
    settlement_bytes_per_s: float = 1024.0
    # One machine's telemetry, in the same way.
    telemetry_burst: int = 120
    telemetry_per_s: float = 1.0
    telemetry_burst_bytes: int = 1024 * 1024
    telemetry_bytes_per_s: float = 1024.0

    # A relay is quiet if it missed this many events in a row that others delivered, over this time.
    quiet_events: int = 5
    quiet_after_s: float = 900.0
