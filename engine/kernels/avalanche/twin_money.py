"""The NumPy twin's money: payments by currency, securities, lines, defaults, forced sales."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain.arrays import BoolArray, Float64Array, Int64Array
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import HUB, Model, Output


class TwinMoney:
    """State and steps that need no market; `Twin` adds markets, exposures and calls."""

    m: Model
    paths: Any
    stress: Float64Array
    exposure: Float64Array
    ewma: Float64Array
    alive: Float64Array
    im: Float64Array
    im_max: Float64Array
    size: Float64Array
    calls: Float64Array
    agreement_of_segment: Int64Array

    def _start_money(self, paths: int) -> None:
        m = self.m
        buckets, currencies, kinds = len(m.relief), len(m.cash), len(m.hqla)
        hours = len(m.stress) + layout.SETTLE_HOURS

        def many(values: Any) -> Float64Array:
            return np.repeat(np.asarray(values, dtype=np.float64)[:, None], paths, axis=1)

        def none(*shape: int) -> Float64Array:
            return np.zeros((*shape, paths))

        self.left, self.volume, self.level = many(np.ones(buckets)), none(buckets), none(buckets)
        self.heat, self.fund_heat = many(np.ones(buckets)), np.ones(paths)
        self.sold_today, self.raised_today = none(buckets), none()
        self.pressure = none(buckets)
        self.cash, self.unpaid = many(m.cash), none(currencies)
        self.inflow, self.outflow = none(currencies), none(currencies)
        # A calendar of every hour instead of the kernel's rings.
        self.payable, self.receivable = none(hours, currencies), none(hours, currencies)
        self.owed_by = none(hours, len(m.im_start))
        self.arriving, self.relief_until = none(hours), none(hours)
        self.hqla, self.hqla_today = many(m.hqla), none(kinds)
        self._book_calls(0, np.arange(len(m.im_start)), *self._open_calls(paths))
        self.nav = np.full(paths, m.pool[layout.POOL_NAV])
        self.drawn, self.in_flight, self.net_paid = none(), none(), none()
        self.raised, self.cost, self.fx_cost, self.caused = none(), none(), none(), none()
        self.drawn_max, self.unpaid_max, self.need_max = none(), none(), none()
        self.refused_max, self.branching_max, self.failed = none(), none(), none()
        self.overdue, self.claims = none(), none()
        self.exhausted, self.requested = np.full(paths, -1.0), np.full(paths, -1.0)
        self.first_currency, self.default_hour = np.full(paths, -1.0), np.full(paths, -1.0)
        own = np.sum(m.cash) + np.sum(m.hqla * (1 - m.hqla_haircut))
        self.liquidity_min = np.full(paths, own + np.sum(m.facility_limit))

    def _open_calls(self, paths: int) -> tuple[Float64Array, Float64Array]:
        calls = np.repeat(self.m.open_call[:, None], paths, axis=1)
        return np.maximum(calls, 0.0), np.maximum(-calls, 0.0)

    def _book_calls(
        self, hour: int, r: Int64Array, owed: Float64Array, received: Float64Array
    ) -> None:
        m = self.m
        lag = m.pay_lag[r, hour % layout.HOURS_PER_DAY].astype(int)
        due, pool = hour + lag, m.currency[r].astype(int)
        np.add.at(self.payable, (due, pool), owed)
        np.add.at(self.owed_by, (due, r), owed)
        np.add.at(self.receivable, (hour + m.receive_lag[r].astype(int), pool), received)

    def _pending(self, hour: int) -> Float64Array:
        """Calls issued and not yet due, by currency."""
        return np.asarray(self.payable[hour + 1 :].sum(axis=0))

    def _pay_due(self, hour: int, pnl: Float64Array, called: Float64Array) -> None:
        self.nav = self.nav + pnl
        self.calls = self.calls + called
        self.im_max = np.maximum(self.im_max, self.im.sum(axis=0))
        self.in_flight = self.in_flight - self.relief_until[hour]
        if hour % layout.HOURS_PER_DAY == 0:
            self.sold_today[:], self.hqla_today[:], self.raised_today[:] = 0.0, 0.0, 0.0
        self._move_cash(HUB, self.arriving[hour])
        received = self.receivable[hour] + np.maximum(self.m.flow[hour], 0.0)[:, None]
        payable = self.payable[hour] + np.maximum(-self.m.flow[hour], 0.0)[:, None]
        self.net_paid += (payable - received).sum(axis=0)
        self.cash += received
        self.inflow += received
        self.unpaid += payable
        for n in range(len(self.cash)):
            self._pay(n)

    def _move_cash(self, n: int, amount: Float64Array) -> None:
        """Book an amount into (or, negative, out of) a currency's account."""
        self.cash[n] += amount
        self.inflow[n] += np.maximum(amount, 0.0)
        self.outflow[n] += np.maximum(-amount, 0.0)

    def _pay(self, n: int) -> None:
        paid = np.minimum(self.cash[n], self.unpaid[n])
        self._move_cash(n, -paid)
        self.unpaid[n] -= paid

    def _open_pools(self, hour: int) -> list[int]:
        bit = 1 << (hour % layout.HOURS_PER_DAY)
        return [n for n in range(1, len(self.cash)) if int(self.m.fx_open[n]) & bit]

    def _charge(self, fee: Float64Array) -> None:
        self.fx_cost += fee
        self.nav -= fee

    def _spread(self, n: int) -> Float64Array:
        wide = self.m.fx_spread[n] * np.maximum(self.stress, 1.0)
        return np.minimum(wide, layout.LARGEST_SPREAD)

    def _exchange_in(self, hour: int) -> None:
        """Surplus of open currencies becomes hub cash as far as the hub lacks it."""
        pending = self._pending(hour)
        lacking = self.unpaid + pending - self.cash
        pools = self._open_pools(hour)
        short = lacking[HUB] + sum(np.maximum(lacking[n], 0.0) for n in pools)
        for n in pools:
            give = np.minimum(np.maximum(-lacking[n], 0.0), np.rint(np.maximum(short, 0.0)))
            fee = np.rint(give * self._spread(n))
            self._move_cash(n, -give)
            self._move_cash(HUB, give - fee)
            self._charge(fee)
            short = short - (give - fee)

    def _exchange_out(self, hour: int) -> None:
        """Hub cash buys what open currencies lack for calls issued in them."""
        pending = self._pending(hour)
        for n in self._open_pools(hour):
            rate = self._spread(n)
            lacking = np.maximum(self.unpaid[n] + pending[n] - self.cash[n], 0.0)
            spare = np.maximum(self.cash[HUB] - self.unpaid[HUB], 0.0)
            bought = np.minimum(lacking, np.maximum(np.rint(spare / (1.0 + rate)) - 1.0, 0.0))
            fee = np.rint(bought * rate)
            self._move_cash(HUB, -(bought + fee))
            self._move_cash(n, bought)
            self._charge(fee)
            self._pay(n)

    def _raise_cash(self, hour: int) -> None:
        """Exchange, pledge, borrow, sell securities ahead; then note what is still unpaid."""
        self._exchange_in(hour)
        self._pay(HUB)
        self._exchange_out(hour)
        short = self._shortage(hour)
        if np.any(short > 0):
            short = self._pledge(short)
            self._borrow(hour, short)
            self._pay(HUB)
            self._exchange_out(hour)
        self._sell_slow(hour)
        self._note_unpaid(hour)

    def _shortage(self, hour: int) -> Float64Array:
        pending = self._pending(hour)
        short = self.unpaid[HUB] - self.cash[HUB]
        for n in self._open_pools(hour):
            lacking = self.unpaid[n] + pending[n] - self.cash[n]
            rate = self._spread(n)
            short = short + np.where(lacking > 0, np.ceil(lacking * (1 + rate)) + 2.0, 0.0)
        return np.asarray(short)

    def _cut(self, q: int) -> Float64Array:
        heat = self.fund_heat if self.m.pool[layout.POOL_HEAT_HAIRCUT] > 0 else 1.0
        wide = self.m.hqla_haircut[q] * np.maximum(self.stress * heat, 1.0)
        return np.minimum(wide, max(layout.LARGEST_HAIRCUT, float(self.m.hqla_haircut[q])))

    def _give(self, q: int, short: Float64Array) -> Float64Array:
        """Use securities of kind q for what is short, within the limits of hour and day."""
        m, cut = self.m, self._cut(q)
        room = np.minimum(m.hqla_hour_cap[q], m.hqla_day_cap[q] - self.hqla_today[q])
        asked = np.rint(np.maximum(short, 0.0) / (1 - cut)) + 1.0
        given = np.where(short > 0, np.minimum(np.minimum(asked, self.hqla[q]), room), 0.0)
        self.hqla[q] -= given
        self.hqla_today[q] += given
        return np.asarray(np.rint(given * (1 - cut)))

    def _pledge(self, short: Float64Array) -> Float64Array:
        for q in np.nonzero(self.m.hqla_lag == 0)[0]:
            proceeds = self._give(int(q), short)
            self._move_cash(HUB, proceeds)
            short = short - proceeds
        return short

    def _sell_slow(self, hour: int) -> None:
        at_once = [q for q in range(len(self.hqla)) if self.m.hqla_lag[q] == 0]
        ready = sum(self.hqla[q] * (1 - self._cut(q)) for q in at_once)
        known = (self.unpaid + self._pending(hour) - self.cash).sum(axis=0)
        short = known - ready - self.arriving[hour + 1 :].sum(axis=0)
        for q in range(len(self.hqla)):
            if q not in at_once:
                proceeds = self._give(q, short)
                self.arriving[hour + int(self.m.hqla_lag[q])] += proceeds
                short = short - proceeds

    def _lines(self, noticed: Any, free: bool) -> Float64Array:
        m = self.m
        served = noticed >= m.facility_notice[:, None]
        kept = self.nav / m.pool[layout.POOL_NAV] >= 1.0 - m.facility_covenant[:, None]
        heat = self.fund_heat if m.pool[layout.POOL_HEAT_MOVES] > 0 else 1.0
        calm = self.stress * heat <= m.facility_stress[:, None]
        base = np.maximum(m.facility_base[:, None] * self.nav, 0.0)
        base = np.where(m.facility_base[:, None] < layout.NO_BASE, base, np.inf)
        limit = np.floor(np.minimum(m.facility_limit[:, None], base))
        if free:
            return np.asarray((served * m.facility_limit[:, None]).sum(axis=0))
        return np.asarray((served * kept * calm * limit).sum(axis=0))

    def _borrow(self, hour: int, short: Float64Array) -> None:
        noticed = np.where(self.requested >= 0, hour - self.requested, -1.0)
        short = np.maximum(short, 0.0)
        room = np.maximum(self._lines(noticed, False) - self.drawn, 0.0)
        meant = np.maximum(self._lines(noticed, True) - self.drawn, 0.0)
        drawn = np.minimum(short, room)
        self.refused_max = np.maximum(self.refused_max, np.minimum(short, meant) - drawn)
        self.drawn = self.drawn + drawn
        self._move_cash(HUB, drawn)
        self.drawn_max = np.maximum(self.drawn_max, self.drawn)

    def _note_unpaid(self, hour: int) -> None:
        total = self.unpaid.sum(axis=0)
        begins = (total > 0) & (self.exhausted < 0)
        self.unpaid_max = np.maximum(self.unpaid_max, total + self.claims)
        self.overdue = np.where(total > 0, self.overdue + 1, 0.0)
        self.exhausted = np.where(begins, float(hour), self.exhausted)
        first = np.argmax(self.unpaid > 0, axis=0)
        self.first_currency = np.where(begins, first, self.first_currency)
        own = self.m.cash.sum() + sum(
            self.m.hqla[q] * (1 - self._cut(q)) for q in range(len(self.hqla))
        )
        self.need_max = np.maximum(self.need_max, self.net_paid - own)

    def _outlook(self, hour: int, out: Output) -> Float64Array:
        pool = self.m.pool
        own = (self.cash - self.unpaid).sum(axis=0) + self.arriving[hour + 1 :].sum(axis=0)
        own = own - self.claims
        own = own + sum(self.hqla[q] * (1 - self._cut(q)) for q in range(len(self.hqla)))
        ahead = own - self._pending(hour).sum(axis=0)
        ask = (ahead < pool[layout.POOL_REQUEST]) & (self.requested < 0)
        self.requested = np.where(ask, float(hour), self.requested)
        room = np.maximum(self._lines(np.inf, False) - self.drawn, 0.0)
        self.liquidity_min = np.minimum(self.liquidity_min, own + room)
        out.fan[hour] = own + room
        return np.maximum(pool[layout.POOL_TARGET] - ahead - room - self.in_flight, 0.0)

    def _scale(self) -> tuple[Float64Array, Float64Array]:
        """Volatility of impact, and how many times depth has fallen."""
        volatility = np.maximum(self.stress, 1.0)
        heat = self.fund_heat if self.m.pool[layout.POOL_HEAT_DEPTH] > 0 else 1.0
        depth = np.clip(volatility * heat, 1.0, layout.LARGEST_DEPTH_LOSS)
        return volatility, depth

    def _level_of(self, volume: Float64Array) -> Float64Array:
        return volume if self.m.pool[layout.POOL_LINEAR] > 0 else np.sqrt(volume)

    def _trade(self, b: int, sold: Float64Array) -> Float64Array:
        """Add the fund's and the crowd's volume; return the rise of the impact level."""
        before = self.level[b].copy()
        self.volume[b] += (1.0 + self.m.crowd[b]) * sold
        self.level[b] = self._level_of(self.volume[b])
        return np.asarray(self.level[b] - before)

    def _sales(self, hour: int, want: Float64Array) -> None:
        before = self.level.copy()
        self.volume *= self.m.pool[layout.POOL_DECAY]
        self.level = self._level_of(self.volume)
        late = self.overdue > self.m.pool[layout.POOL_GRACE]
        last_hour = hour % layout.HOURS_PER_DAY == layout.HOURS_PER_DAY - 1
        if last_hour and np.any(late):
            self._default(hour, late)
        if self.m.pool[layout.POOL_SELL] > 0:
            self._sell(hour, want)
        volatility, depth = self._scale()
        change = self.level - before
        scale = volatility * np.sqrt(depth)
        self.impact = self.m.impact[:, None] * change[self.m.bucket] * scale
        self.pressure = self.pressure + self.left * change * scale
        self._trace()
        extra = self.m.heat[:, None] * self.level**2
        moves = self.m.pool[layout.POOL_HEAT_MOVES] > 0
        self.heat = np.sqrt(1.0 + extra) if moves else np.ones_like(extra)
        self.fund_heat = np.sqrt(1.0 + self.m.heat_weight @ extra)

    def _sell(self, hour: int, want: Float64Array) -> None:
        m, pool = self.m, self.m.pool
        volatility, depth = self._scale()
        room = np.maximum(pool[layout.POOL_DAY_LIMIT] - self.raised_today, 0.0)
        wanted = np.minimum(want, room)
        rest = wanted.copy()
        for b in m.sale_order.astype(int):
            if m.relief[b] <= 0:
                continue
            ordered = pool[layout.POOL_SEQUENTIAL] > 0
            part = np.maximum(rest, 0.0) if ordered else wanted * m.sale_share[b]
            free = np.minimum(
                self.left[b] - pool[layout.POOL_KEEP_SHARE], m.sale_day_cap[b] - self.sold_today[b]
            )
            sold = np.minimum(part / m.relief[b], m.sale_cap[hour, b] / depth)
            sold = np.minimum(sold, np.maximum(free, 0.0))
            step = self._trade(b, sold)
            lost = np.rint(0.5 * m.cost[b] * sold * step * volatility * np.sqrt(depth))
            self.left[b] -= sold
            self.sold_today[b] += sold
            raised = m.relief[b] * sold
            rest = rest - raised
            self._move_cash(HUB, -lost)
            self.nav = self.nav - lost
            self.cost = self.cost + lost
            self.raised += raised
            self.raised_today += raised
            self.in_flight += raised
            wait = int(m.relief_wait[hour % layout.HOURS_PER_DAY, b])
            self.relief_until[hour + wait] += raised
        self.size = self._sizes()

    def _sizes(self) -> Float64Array:
        m = self.m
        pieces = m.pair_coef[:, None] * self.left[m.pair_a] * self.left[m.pair_b]
        squared = np.zeros((len(m.im_start), len(self.paths)))
        owner = np.repeat(np.arange(len(m.im_start)), np.diff(m.pair_ptr.astype(np.int64)))
        np.add.at(squared, owner, pieces)
        return np.sqrt(np.maximum(squared, 0.0))

    def _default(self, hour: int, late: BoolArray) -> None:
        """Relations with a call unpaid beyond the period of grace end, in order; others follow.

        Older debts are paid first: what is unpaid beyond the calls of the period of grace is older.
        """
        m = self.m
        grace = int(m.pool[layout.POOL_GRACE])
        newest = hour - grace
        first = max(newest - layout.HOURS_PER_DAY + 1, 0)
        young = self.owed_by[max(newest + 1, 0) : hour + 1].sum(axis=0) * self.alive
        older = self.unpaid.copy()
        np.subtract.at(older, m.currency.astype(int), young)
        for r in m.fail_order.astype(int):
            n = int(m.currency[r])
            owed = self.owed_by[first : max(newest + 1, 0), r].sum(axis=0)
            bears = np.where(late, np.minimum(owed, np.maximum(older[n], 0.0)), 0.0)
            bears = bears * self.alive[r]
            older[n] -= bears
            claim = np.where(bears > 0, np.minimum(bears + young[r], self.unpaid[n]), 0.0)
            self.unpaid[n] -= claim
            self._close_out(hour, r, bears > 0, claim)
        for r in m.fail_order[m.cross[m.fail_order] > 0]:
            hit = (self.failed > 0) & (self.alive[r] > 0)
            self._close_out(hour, int(r), hit, np.zeros_like(self.nav))

    def _close_out(self, hour: int, r: int, hit: BoolArray, claim: Float64Array) -> None:
        m, n = self.m, int(self.m.currency[r])
        lapsed = np.where(hit, self.owed_by[hour + 1 :, r], 0.0)
        self.owed_by[hour + 1 :, r] -= lapsed
        self.payable[hour + 1 :, n] -= lapsed
        volatility, depth = self._scale()
        for j in np.nonzero(self.agreement_of_segment == r)[0]:
            b = int(m.seg_bucket[j])
            step = self._trade(b, np.where(hit, m.seg_volume[j] * self.left[b], 0.0))
            push = 0.5 * abs(m.seg_push[j]) * self.left[b]
            lost = np.where(hit, np.rint(push * step * volatility * np.sqrt(depth)), 0.0)
            self.nav = self.nav - lost
            self.cost = self.cost + lost
            claim = claim + lost
        self.claims = self.claims + np.where(hit, np.maximum(claim - self.im[r], 0.0), 0.0)
        self.im[r] = np.where(hit, 0.0, self.im[r])
        self.alive[r] = np.where(hit, 0.0, self.alive[r])
        self.failed = self.failed + hit
        self.default_hour = np.where(hit & (self.default_hour < 0), float(hour), self.default_hour)

    def _pressed(self, r: Any) -> Float64Array:
        """P&L that the fund's own sales have cost agreements so far, to first order."""
        pieces = self.m.seg_push[:, None] * self.pressure[self.m.seg_bucket]
        pnl = np.zeros_like(self.exposure)
        np.add.at(pnl, self.agreement_of_segment, pieces)
        return np.asarray(pnl[r])

    def _note_caused(self, r: Int64Array, own: Float64Array, variance: Float64Array) -> None:
        """Calls that a day's own sales have caused, until the first default.

        `variance` is that before the day.
        """
        m = self.m
        own = own * self.alive[r]
        norm = m.daily_norm[r][:, None] * np.maximum(self.size[r], 1e-9)
        u = np.divide(own, norm, out=np.zeros_like(own), where=norm > 0)
        fade = 1.0 - m.ewma_lambda[r][:, None]
        rise = np.sqrt(variance + fade * u**2) - np.sqrt(variance)
        full = m.im_start[r][:, None] * self.size[r]
        margin = (1.0 - m.stress_share[r][:, None]) * full * rise
        calls = (np.maximum(-own, 0.0) + margin).sum(axis=0)
        self.caused += np.where(self.failed == 0, calls, 0.0)

    def _trace(self) -> None:
        """The largest ratio so far of everything caused over everything raised."""
        enough = (self.raised >= self.m.pool[layout.POOL_BRANCH_LEAST]) & (self.raised > 0)
        ratio = np.divide(self.caused, self.raised, out=np.zeros_like(self.caused), where=enough)
        self.branching_max = np.maximum(self.branching_max, ratio)

    def _money_metrics(self) -> dict[str, Float64Array]:
        closing = self.m.cash[:, None] + self.inflow - self.outflow
        return {
            "liquidity_min": self.liquidity_min,
            "drawn_max": self.drawn_max,
            "unpaid_max": self.unpaid_max,
            "need_max": self.need_max,
            "exhausted_hour": self.exhausted,
            "raised": self.raised,
            "impact_cost": self.cost,
            "nav_end": self.nav,
            "cash_error": np.abs(closing - self.cash).max(axis=0),
            "fx_cost": self.fx_cost,
            "first_currency": self.first_currency,
            "lines_refused_max": self.refused_max,
            "default_hour": self.default_hour,
            "default_count": self.failed,
            "branching_max": self.branching_max,
        }
