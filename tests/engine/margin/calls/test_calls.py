from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.failures import FailureReason, InputError
from engine.domain.results import MarginResult
from engine.margin.baseline import calculate_margin_requirements
from engine.margin.calls.calls import margin_calls
from engine.margin.calls.currency_netting import convert_then_net, net_then_convert
from engine.margin.calls.margin_call import call_id, called_usd, payable_cents, total_by_currency
from engine.margin.config import MarginConfig
from engine.rulebooks.calendars import payment_system
from engine.rulebooks.services import load_services
from tests.support.tiny_fund import AS_OF, SIMM, FundBuilder, text, tiny_market

NOW = datetime(2022, 12, 28, 17, 0, tzinfo=UTC)  # a Wednesday
FX = {"USD": 1.0, "EUR": 1.25, "JPY": 0.0075, "HKD": 0.128, "AUD": 0.68}
MARKET = tiny_market(n_days=10, fx_usd=FX)
# required, held, mta, rounding -> call
IM_TABLE = [
    (12_345_678, 10_000_000, 500_000, 10_000, 2_350_000),
    (10_499_999, 10_000_000, 500_000, 10_000, 0),
    (10_500_000, 10_000_000, 500_000, 10_000, 500_000),
    (10_500_001, 10_000_000, 500_000, 10_000, 510_000),
    (9_500_001, 10_000_000, 500_000, 10_000, 0),
    (9_495_000, 10_000_000, 500_000, 10_000, -500_000),
    (0, 10_000_000, 500_000, 10_000, -10_000_000),
    (1_234.567, 0, 0, 0, 1_234.57),
    (0, 0, 0, 0, 0),
]


def service_terms(name: str) -> dict[str, Any]:
    service = load_services()[name]
    return {
        "venue": name,
        "eod_hour_utc": service.eod_hour_utc,
        "intraday_hours_utc": service.intraday_hours_utc,
        "pay_lag_hours": service.pay_lag_hours,
    }


def book_of(*terms: dict[str, Any]):
    builder = FundBuilder()
    for i, each in enumerate(terms):
        builder.agreement(f"A{i}", **each)
    builder.instrument("F", "future", "IDX")
    for i in range(len(terms)):
        builder.position("F", f"A{i}", "M1", 1.0)
    return builder.build(MARKET)


def result_of(book, im, vm, add_on=None, market=MARKET, basis=None) -> MarginResult:
    """A result with these amounts in the currency of each agreement."""
    agreements = book.agreements
    usd = market.usd_per(agreements.currency)
    zeros = np.zeros(len(agreements))
    return MarginResult(
        as_of=book.as_of, currency="USD", agreement_id=agreements.agreement_id,
        kind=agreements.kind, venue=agreements.venue, counterparty=agreements.counterparty,
        broker=agreements.broker, model=agreements.model, mark=agreements.evidence,
        im_usd=np.array(im, dtype=float) * usd, vm_usd=np.array(vm, dtype=float) * usd,
        add_ons={"broker": zeros if add_on is None else np.array(add_on, dtype=float) * usd},
        basis=basis or {},
    )  # fmt: skip


def one(terms, im=0.0, vm=0.0, now=NOW, **kw):
    book = book_of(terms)
    return margin_calls(book, MARKET, result_of(book, [im], [vm], **kw), now)


@pytest.mark.parametrize("row", IM_TABLE)
def test_im_table(row):
    required, held, mta, rounding, expected = row
    terms = {"im_held": float(held), "mta": float(mta), "rounding": float(rounding)}
    found = one(terms, im=required)
    assert found.failures == ()
    signed = [c.amount_cents if c.direction == "pay" else -c.amount_cents for c in found.value]
    assert signed == ([] if expected == 0 else [round(100 * expected)])
    assert all(c.kind == "im" for c in found.value)


def test_add_ons_are_part_of_what_is_required():
    (call,) = one({"im_held": 4.0e6}, im=3.0e6, add_on=[2.5e6]).value
    assert (call.amount_cents, call.direction) == (150_000_000, "pay")


def test_vm_and_im_are_separate_calls_in_the_currency_of_the_agreement():
    terms = {"currency": "EUR", "im_held": 2e6, **SIMM}
    vm, im = one(terms, im=5e6, vm=-750_000.5).value
    assert (vm.kind, vm.direction, vm.amount_cents) == ("vm", "receive", 75_000_050)
    assert (im.kind, im.direction, im.amount_cents) == ("im", "pay", 300_000_000)
    assert vm.currency == im.currency == "EUR"
    assert im.amount_usd == pytest.approx(3e6 * 1.25, rel=1e-12)
    assert (vm.regulatory, im.regulatory) == (False, True)
    assert total_by_currency((vm, im)) == {"EUR": {"pay": 300_000_000, "receive": 75_000_050}}
    assert called_usd((vm, im)) == pytest.approx([-750_000.5 * 1.25, 3.75e6])


def test_yen_is_called_in_whole_units():
    (call,) = one({"currency": "JPY"}, vm=1234567.5).value
    assert call.amount_cents == 123_456_800
    assert payable_cents(12.345, payment_system("JPY")) == 1200
    assert payable_cents(12.345, payment_system("USD")) == 1234
    assert one({"currency": "JPY"}, vm=0.4).value == ()


def test_hours_of_the_agreement_and_the_direction():
    terms = {"eod_hour_utc": 22, "intraday_hours_utc": (9, 18), "pay_lag_hours": 3}
    (owed,) = one(terms, vm=1e6).value
    assert owed.issued_at == datetime(2022, 12, 28, 18, tzinfo=UTC)
    assert owed.deadline == datetime(2022, 12, 28, 21, tzinfo=UTC)
    assert owed.settles_on == date(2022, 12, 28)
    assert owed.cut_off == datetime(2022, 12, 28, 23, 45, tzinfo=UTC)  # 18:45 New York
    assert owed.mark == "user"
    (due,) = one(terms, vm=-1e6).value
    assert due.issued_at == datetime(2022, 12, 28, 22, tzinfo=UTC)
    # 01:00 UTC on the 29th is still the evening of the 28th in New York, after the cut-off.
    assert due.deadline == datetime(2022, 12, 29, 1, tzinfo=UTC)
    assert due.settles_on == date(2022, 12, 29)


@pytest.mark.parametrize(
    ("pay_lag_hours", "settles"), [(5, date(2022, 12, 28)), (6, date(2022, 12, 29))]
)
def test_payment_after_the_cut_off_settles_next_day(pay_lag_hours, settles):
    # Called at 18:00 UTC; the cut-off in New York is 23:45 UTC.
    (call,) = one({"eod_hour_utc": 18, "pay_lag_hours": pay_lag_hours}, vm=1.0).value
    assert call.settles_on == settles


def test_friday_evening_settles_on_monday():
    now = datetime(2022, 12, 30, 17, tzinfo=UTC)
    (call,) = one({"eod_hour_utc": 18, "pay_lag_hours": 12}, vm=1.0, now=now).value
    assert call.settles_on == date(2023, 1, 2)
    book = book_of({"eod_hour_utc": 18, "pay_lag_hours": 12})
    closed = {"USD": frozenset({date(2023, 1, 2)})}
    (later,) = margin_calls(book, MARKET, result_of(book, [0], [1]), now, closed).value
    assert later.settles_on == date(2023, 1, 3)


def test_regulatory_im_settles_a_day_later_vm_does_not():
    terms = {**SIMM, "eod_hour_utc": 18, "pay_lag_hours": 2}
    vm, im = one(terms, im=1e6, vm=1e6).value
    assert vm.issued_at == im.issued_at
    assert (vm.settles_on, im.settles_on) == (date(2022, 12, 28), date(2022, 12, 29))
    assert im.cut_off.date() == date(2022, 12, 29)
    assert (vm.mark, im.mark) == ("user", "indicative")  # the lag is general knowledge
    (cleared,) = one({"eod_hour_utc": 18, "pay_lag_hours": 2}, im=1e6).value
    assert cleared.settles_on == date(2022, 12, 28)


def test_tolerance_of_a_run_passes_small_amounts_on():
    terms = {"currency": "HKD", **service_terms("HKSCC")}
    now = datetime(2022, 12, 28, 1, tzinfo=UTC)  # 09:00 in Hong Kong
    (above,) = one(terms, vm=5_000_000.01, now=now).value
    assert above.issued_at == datetime(2022, 12, 28, 3, tzinfo=UTC)
    assert above.deadline == datetime(2022, 12, 28, 6, tzinfo=UTC)
    (at_it,) = one(terms, vm=5_000_000.0, now=now).value
    assert at_it.issued_at == datetime(2022, 12, 28, 9, tzinfo=UTC)
    (im,) = one(terms, im=9e6, now=now).value
    assert im.issued_at == at_it.issued_at  # the run of 11:00 calls no initial margin
    assert above.mark == "indicative"  # its cut-off was not read


def test_verified_hour_and_cut_off_give_a_verified_call():
    terms = {"currency": "EUR", **service_terms("LCH_SA_CDSCLEAR")}
    (call,) = one(terms, vm=1e6, now=datetime(2022, 12, 29, 6, tzinfo=UTC)).value
    assert call.issued_at == datetime(2022, 12, 29, 7, tzinfo=UTC)
    assert call.deadline == datetime(2022, 12, 29, 8, tzinfo=UTC)
    assert call.mark == "verified"
    assert "end of day run at 08:00 Europe/Paris" in call.why


def test_movement_tells_delivery_from_return():
    assert one({}, vm=5.0).value[0].movement == "delivery"
    assert one({"vm_held": -9.0}, vm=5.0).value[0].movement == "return"
    assert one({"vm_held": -5.0}, vm=5.0).value[0].movement == "return"
    assert one({"vm_held": -4.0}, vm=5.0).value[0].movement == "both"
    assert one({"vm_held": 9.0}, vm=-5.0).value[0].movement == "return"
    assert one({"vm_held": 4.0}, vm=-5.0).value[0].movement == "both"
    assert one({"vm_held": -4.0}, vm=-5.0).value[0].movement == "delivery"


def test_the_same_inputs_give_the_same_ids_and_others_do_not():
    terms = [{"im_held": 1.0}, {"im_held": 2.0}]
    book = book_of(*terms)
    result = result_of(book, [10, 10], [3, 3])
    first = margin_calls(book, MARKET, result, NOW).value
    later = margin_calls(book, MARKET, result, NOW.replace(hour=23)).value
    assert [c.call_id for c in first] == [c.call_id for c in later]
    assert len({c.call_id for c in first}) == 4
    assert call_id("A", "vm", AS_OF, "USD", 1) != call_id("A", "vm", AS_OF, "USD", -1)
    assert call_id("A", "vm", AS_OF, "USD", 1) != call_id("A", "im", AS_OF, "USD", 1)
    assert call_id("A", "vm", AS_OF, "USD", 1) != call_id("A", "vm", AS_OF, "EUR", 1)
    assert call_id("A", "vm", AS_OF, "USD", 1) == "MC28F35107B946AB68C86AB213"


def test_collateral_of_the_other_side_is_not_netted():
    found = one({**SIMM, "im_held": -7e6}, im=5e6)
    (call,) = found.value
    assert call.amount_cents == 500_000_000
    (failure,) = found.failures
    assert failure.reason is FailureReason.NOT_APPLICABLE
    assert "im_held -7,000,000.00 USD" in failure.message


def test_the_side_of_a_result_that_asks_for_margin():
    terms = {**SIMM, "im_held": -2e6}
    (call,) = one(terms, im=5e6, basis={"side": "call"}).value
    assert (call.direction, call.amount_cents) == ("receive", 300_000_000)
    assert one(terms, im=2e6, basis={"side": "call"}).value == ()
    (cleared,) = one({}, im=5e6, basis={"side": "call"}).value
    assert cleared.direction == "pay"


def test_nothing_vanishes():
    book = book_of({}, {"currency": "CHF"}, {}, {"currency": "GEL"}, {})
    market = replace(MARKET, fx_usd={**FX, "GEL": 0.37})
    result = result_of(book_of({}, {}, {}, {}, {}), [1, 1, 1, 1, 1], [0, 0, np.nan, 0, 0])
    result = replace(result, agreement_id=text(["A0", "A1", "A2", "A3", "Z"]))
    found = margin_calls(book, market, result, NOW)
    assert [c.agreement_id for c in found.value] == ["A0"]
    told = {f.item: f for f in found.failures}
    assert set(told) == {"A1", "A2", "A3", "A4", "Z"}
    assert told["A1"].reason is FailureReason.CURRENCY_CONVERSION
    assert told["A2"].reason is FailureReason.CALCULATION_FAILED
    assert "no payment system is known for currency GEL" in told["A3"].message
    assert "no margin in the result" in told["A4"].message
    assert "not in the book" in told["Z"].message


def test_a_bad_im_call_leaves_the_vm_call():
    found = one({"mta": -1.0}, im=1e6, vm=1e6)
    assert [c.kind for c in found.value] == ["vm"]
    assert found.failures[0].message.startswith("im call: mta is -1")


def test_an_amount_too_large_to_be_exact_is_a_failure():
    found = one({}, vm=1e15)
    assert found.value == ()
    assert "too large to be exact" in found.failures[0].message


def test_now_is_checked():
    book = book_of({})
    result = result_of(book, [1], [1])
    with pytest.raises(InputError, match="no time zone"):
        margin_calls(book, MARKET, result, datetime(2022, 12, 28))
    with pytest.raises(InputError, match="lies before the date of the result, 2022-12-28"):
        margin_calls(book, MARKET, result, datetime(2022, 12, 27, 23, 59, tzinfo=UTC))
    with pytest.raises(InputError, match="the result is of 2022-12-27"):
        margin_calls(book, MARKET, replace(result, as_of=date(2022, 12, 27)), NOW)


def test_calls_of_a_real_result():
    market = tiny_market()
    builder = FundBuilder().agreement("CCP", broker_multiplier=1.1).agreement("CSA", **SIMM)
    builder.instrument("F", "future", "IDX", multiplier=50.0)
    builder.instrument("S", "trs", "STK", strike=110.0)
    builder.position("F", "CCP", "M1", 100.0).position("S", "CSA", "M1", 1e6)
    book = builder.build(market)
    result = calculate_margin_requirements(book, market, MarginConfig())
    calls = margin_calls(book, market, result, NOW).value
    im = {c.agreement_id: c.amount_usd for c in calls if c.kind == "im"}
    for i, name in enumerate(result.agreement_id):
        required = result.im_usd[i] + result.add_ons_usd()[i]
        assert im[str(name)] == pytest.approx(required, abs=0.01)
    vm = {c.agreement_id: c for c in calls if c.kind == "vm"}
    assert (vm["CSA"].direction, vm["CSA"].amount_cents) == ("pay", 1_000_000_000)  # 110 to 100
    assert calls[0].to_dict()["issued_at"] == "2022-12-28T18:00:00+00:00"


money = st.floats(0.0, 1e11).map(lambda x: round(x, 2))


@settings(max_examples=60)
@given(
    money, money, st.floats(0.0, 1e7), st.sampled_from([0.0, 1.0, 1e4, 2.5e5]),
    st.sampled_from(["USD", "EUR", "JPY"]),
)  # fmt: skip
def test_after_paying_there_is_no_call(required, held, mta, rounding, currency):
    terms = {"currency": currency, "mta": mta, "rounding": rounding}
    calls = one({**terms, "im_held": held}, im=required).value
    for call in calls:
        paid = call.amount_cents / 100 * (1 if call.direction == "pay" else -1)
        assert one({**terms, "im_held": held + paid}, im=required).value == ()


@settings(max_examples=40)
@given(st.lists(st.tuples(money, st.floats(-1e9, 1e9)), min_size=1, max_size=6))
def test_every_agreement_is_called_once_and_in_full(amounts):
    book = book_of(*[{} for _ in amounts])
    im, vm = zip(*amounts, strict=True)
    found = margin_calls(book, MARKET, result_of(book, im, vm), NOW)
    assert len({(c.agreement_id, c.kind) for c in found.value}) == len(found.value)
    assert called_usd(found.value).sum() == pytest.approx(
        sum(im) + sum(vm), abs=0.02 * len(amounts) + 1e-9 * sum(im)
    )


def test_netting_and_conversion_do_not_commute():
    required, held = {"EUR": 10.0, "USD": 3.0}, {"EUR": 4.0, "USD": 8.0}
    fx = {"EUR": 1.10, "USD": 1.0}
    assert net_then_convert(required, held, fx) == pytest.approx(6.60, rel=1e-12)
    assert convert_then_net(required, held, fx) == pytest.approx(1.60, rel=1e-12)
    assert convert_then_net({"EUR": 1.0}, {"USD": 2.0}, fx) == 0.0
    with pytest.raises(InputError, match="no USD rate for GBP"):
        net_then_convert({"GBP": 1.0}, {}, fx)


amounts_by_currency = st.dictionaries(st.sampled_from(sorted(FX)), st.floats(0.0, 1e9))


@given(amounts_by_currency, amounts_by_currency)
def test_one_base_currency_never_calls_more(required, held):
    separate = net_then_convert(required, held, FX)
    together = convert_then_net(required, held, FX)
    assert 0.0 <= together <= separate * (1 + 1e-12) + 1e-6


def test_calls_at_each_hour_of_a_week_never_lie_in_the_past():
    terms = {"currency": "AUD", **service_terms("ASX_FUTURES")}
    for hour in range(24):
        now = datetime(2023, 1, 6, hour, 30, tzinfo=UTC)
        (call,) = one(terms, vm=1e6, now=now).value
        assert call.issued_at >= now
        assert call.cut_off >= call.deadline
        assert call.cut_off.time() == time(5, 30)  # 16:30 in Sydney's summer
