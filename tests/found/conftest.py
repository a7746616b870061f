"""What once went wrong, on real parts: `make test` plays the first of each kind, `make test-found` every variant."""

from __future__ import annotations

import pytest

#: One or two of each kind; a correction of a marked leg takes minutes, because the daemon waits for others' requests.
IN_EVERY_RUN = frozenset(
    {
        "test_a_balance_that_was_paid_out_is_not_paid_out_again",
        "test_a_copy_from_between_invoice_and_payment_passes_the_audit_once_it_has_caught_up",
        "test_a_leg_does_not_take_a_payment_that_is_larger_for_its_own",
        "test_a_new_sale_waits_until_it_was_decided_what_the_copy_lacks",
        "test_a_number_that_is_none_in_one_invoice_stops_no_payment",
        "test_a_refund_is_paid_once_when_the_end_of_the_order_is_lost",
        "test_a_restored_copy_knows_its_payments_by_a_new_npub_and_by_a_later_payouts_since",
        "test_a_running_copy_of_the_books_pays_no_leg_twice",
        "test_a_sale_after_lnbits_clock_was_set_back_is_found_in_the_wallet",
        "test_a_sale_with_a_leg_of_one_or_two_sats_to_an_address_ends_by_itself",
        "test_an_address_of_this_lnbits_that_was_not_credited_is_not_said_to_be_paid",
        "test_an_event_after_a_person_gave_the_rate_does_not_change_it",
        "test_another_wallet_under_the_same_label_gets_nothing_until_a_person_says_so",
        "test_lost_books_debit_an_lp_elsewhere_what_her_payment_says",
        "test_lost_books_take_up_a_sale_that_was_paid_in_its_second_revision",
        "test_the_unused_reserve_of_a_balance_payout_is_in_the_books",
        "test_two_daemons_with_two_databases_pay_no_leg_twice",
        "test_what_was_paid_without_proof_is_not_paid_again_when_proof_is_asked_for",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.name.partition("[")[0]
        if "tests/found/" in item.nodeid and name not in IN_EVERY_RUN:
            item.add_marker(pytest.mark.slow)
