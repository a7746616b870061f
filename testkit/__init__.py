"""Real parts on one machine: for the demo, the tests, and whatever disturbs, plays or measures satmachine.

Nothing here is used by the daemon, and the wheel does not carry it.

    lnbits          an LNbits server: installed from the pinned requirements beside it, started, paid by customers
    paused_lnbits   the same, stopped or killed between the debit and the credit of a payment
    machine         a simulated Bitcoin ATM that signs with another implementation
    system          relays, LNbits, wallets, a machine and the daemon, below one folder
    watch           what tests ask of a running system, with patience that ends
    demo            the main job, shown
    relays, proxy   relays that misbehave; a proxy that harms chosen requests
    books           books of known content, without any of the above
    sale_desk       one sale and who corrects it, beside a payer and a wallet that say what a test wants
    config_files    configuration files: one that is right, and ways to make it wrong
"""
