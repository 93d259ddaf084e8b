"""The avalanche model in plain NumPy, all paths at once: the oracle of the compiled kernel.

It reads the same `Model` and draws the same random numbers, but is written from the model's
description (docs/methodology/avalanche.md) with dense matrices and library functions, not from
the kernel's loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import METRICS, Model, Output, empty_output, normal_rows
from engine.kernels.philox import STREAM_HOURLY, STREAM_MIXING, normals


def _dense(ptr: Any, rows: Any, coefs: Any, width: int) -> Float64Array:
    """Expand compressed rows; padding entries have coefficient zero."""
    matrix = np.zeros((len(ptr) - 1, width))
    for i in range(len(ptr) - 1):
        part = slice(int(ptr[i]), int(ptr[i + 1]))
        np.add.at(matrix[i], np.asarray(rows[part], dtype=np.int64), coefs[part])
    return matrix


class Twin:
    """One simulation; `run` returns the same `Output` as the kernel, with the fan kept."""

    def __init__(self, model: Model, paths: int, seed: int, scenario: int = 0) -> None:
        self.m = model
        self.paths = np.arange(paths)
        self.seed = seed
        self.scenario = scenario
        self.factors = len(model.group)
        self.cholesky = _dense(
            model.chol_ptr,
            model.chol_row,
            model.chol_coef,
            normal_rows(self.factors, len(model.keep)),
        )
        self.segments = _dense(model.ent_ptr, model.ent_row, model.ent_coef, 2 * self.factors)
        self.agreement_of_segment = np.repeat(
            np.arange(len(model.im_start)), np.diff(model.seg_ptr.astype(np.int64))
        )
        self._start(paths)

    def _start(self, paths: int) -> None:
        m = self.m
        agreements = len(m.im_start)

        def rows(values: Any) -> Float64Array:
            column = np.asarray(values, dtype=np.float64)[:, None]
            return np.repeat(column, paths, axis=1)

        self.cumulative = np.zeros((self.factors, paths))
        self.convexity = np.zeros((self.factors, paths))
        self.impact = np.zeros((self.factors, paths))
        self.log_volatility = np.zeros((len(m.keep), paths))
        self.left = np.ones((len(m.relief), paths))
        self.root_sold = np.zeros((len(m.relief), paths))
        self.ewma = np.ones((agreements, paths))
        self.exposure = rows(m.exposure_start)
        self.exposure_eod = rows(m.exposure_start)
        self.held = rows(m.held_start)
        self.im = rows(np.maximum(m.im_start - m.im_threshold, 0.0) + m.concentration_start)
        self.size = self._sizes()
        self.pay = np.zeros((layout.RING_HOURS, paths))
        self.receive = np.zeros((layout.RING_HOURS, paths))
        np.add.at(self.pay, m.pay_lag.astype(int), np.maximum(m.open_call, 0.0)[:, None])
        np.add.at(self.receive, m.receive_lag.astype(int), np.maximum(-m.open_call, 0.0)[:, None])
        self.relief_ring = np.zeros((layout.HOURS_PER_DAY, paths))
        pool = m.pool
        self.cash = np.full(paths, pool[layout.POOL_CASH])
        self.hqla = np.full(paths, pool[layout.POOL_HQLA])
        self.nav = np.full(paths, pool[layout.POOL_NAV])
        zero = np.zeros(paths)
        self.drawn, self.unpaid, self.in_flight = zero.copy(), zero.copy(), zero.copy()
        self.net_paid, self.inflow, self.outflow = zero.copy(), zero.copy(), zero.copy()
        self.calls, self.count, self.raised = zero.copy(), zero.copy(), zero.copy()
        self.cost, self.drawn_max, self.unpaid_max = zero.copy(), zero.copy(), zero.copy()
        self.need_max = zero.copy()
        self.multiple_max = np.ones(paths)
        self.exhausted = np.full(paths, -1.0)
        self.requested = np.full(paths, -1.0)
        self.im_max = self.im.sum(axis=0)
        opening = pool[layout.POOL_CASH] + pool[layout.POOL_HQLA] * (1 - pool[layout.POOL_HAIRCUT])
        self.liquidity_min = np.full(paths, opening + np.sum(m.facility_limit))

    def run(self) -> Output:
        """Simulate all hours."""
        out = empty_output(self.m, len(self.paths), fan=True)
        for hour in range(len(self.m.stress)):
            basis = self._market(hour)
            pnl = self._profit(basis)
            called = self._windows(hour, out)
            self._pay_due(hour, pnl, called)
            self._borrow(hour)
            want = self._outlook(hour, out)
            out.windows[hour // layout.WINDOW_HOURS] += called
            self._sales(hour, want)
        self._record(out)
        return out

    def _market(self, hour: int) -> Float64Array:
        m = self.m
        rows = normal_rows(self.factors, len(m.keep))
        z = normals(self.seed, self.scenario, STREAM_HOURLY, self.paths, hour * (rows // 4), rows)
        degrees = int(m.pool[layout.POOL_DEGREES])
        if hour % layout.HOURS_PER_DAY == 0:
            self.mixing = self._mix(hour // layout.HOURS_PER_DAY, degrees)
        multiple = np.exp(self.log_volatility)
        self.stress = multiple.mean(axis=0) * m.stress[hour]
        own = z[self.factors : self.factors + len(m.keep)]
        h = (
            m.keep[:, None] * self.log_volatility
            + m.lead_load[:, None] * z[int(m.lead_row[0])]
            + m.own_load[:, None] * own
        )
        self.log_volatility = np.clip(h, -layout.LOG_VOLATILITY_LIMIT, layout.LOG_VOLATILITY_LIMIT)
        scale = (m.volatility[hour][:, None] * multiple)[m.group] * self.mixing
        x = scale * (self.cholesky @ z) + m.shock[hour][:, None] + self.impact
        self.impact = np.zeros_like(self.impact)
        self.cumulative = self.cumulative + x
        size = np.abs(self.cumulative)
        reach = m.gamma_range[:, None]
        convexity = np.where(size <= reach, 0.5 * size**2, reach * (size - 0.5 * reach))
        basis = np.concatenate([x, convexity - self.convexity])
        self.convexity = convexity
        return basis

    def _mix(self, day: int, degrees: int) -> Float64Array:
        if degrees == 0:
            return np.ones(len(self.paths))
        blocks = -(-degrees // 4)
        z = normals(self.seed, self.scenario, STREAM_MIXING, self.paths, day * blocks, 4 * blocks)[
            :degrees
        ]
        return np.asarray(np.sqrt((degrees - 2.0) / np.sum(z**2, axis=0)))

    def _profit(self, basis: Float64Array) -> Float64Array:
        by_segment = (self.segments @ basis) * self.left[self.m.seg_bucket]
        pnl = np.zeros_like(self.exposure)
        np.add.at(pnl, self.agreement_of_segment, by_segment)
        self.exposure = self.exposure + pnl
        return np.asarray(pnl.sum(axis=0))

    def _windows(self, hour: int, out: Output) -> Float64Array:
        m = self.m
        clock = hour % layout.HOURS_PER_DAY
        open_now = ((m.window_mask >> np.uint32(clock)) & np.uint32(1)).astype(bool)
        r = np.nonzero(open_now)[0]
        eod = (m.eod_hour[r] == clock)[:, None]
        norm = m.daily_norm[r][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            change = (self.exposure[r] - self.exposure_eod[r]) / norm
        u = np.where(norm > 0, change, 0.0) / np.maximum(self.size[r], 1e-9)
        decay = m.ewma_lambda[r][:, None]
        updated = decay * self.ewma[r] + (1 - decay) * u**2
        used = np.where(eod, updated, np.maximum(updated, self.ewma[r]))
        self.ewma[r] = np.where(eod, updated, self.ewma[r])
        self.exposure_eod[r] = np.where(eod, self.exposure[r], self.exposure_eod[r])
        share = m.stress_share[r][:, None]
        swing = np.maximum(np.sqrt(used), m.multiple_floor[0])
        multiple = share + (1 - share) * swing
        size = self.size[r]
        im = m.im_start[r][:, None] * size * multiple - m.im_threshold[r][:, None]
        beyond = np.maximum(swing[:, None, :] - np.array(layout.HINGES)[:, None], 0.0)
        curve = np.einsum("rh,rhp->rp", m.concentration_slope[r], beyond)
        add_on = (m.concentration_start[r][:, None] + curve) * size**1.5
        required = np.rint(np.maximum(im, 0.0) + add_on)
        threshold = m.vm_threshold[r][:, None]
        target = self.exposure[r] - np.clip(self.exposure[r], -threshold, threshold)
        vm = np.rint(target - self.held[r])
        vm = np.where(np.abs(vm) >= m.mta[r][:, None], vm, 0.0)
        call = required - self.im[r] - vm
        taken = eod | (call > m.trigger[r][:, None] * self.im[r])
        self.im[r] = np.where(taken, required, self.im[r])
        self.held[r] += np.where(taken, vm, 0.0)
        owed = np.where(taken, np.maximum(call, 0.0), 0.0)
        received = np.where(taken, np.maximum(-call, 0.0), 0.0)
        np.add.at(self.pay, (hour + m.pay_lag[r].astype(int)) % layout.RING_HOURS, owed)
        np.add.at(self.receive, (hour + m.receive_lag[r].astype(int)) % layout.RING_HOURS, received)
        out.calls[r] += owed
        self.count += (owed > 0).sum(axis=0)
        if len(r):
            self.multiple_max = np.maximum(self.multiple_max, multiple.max(axis=0))
        return np.asarray(owed.sum(axis=0))

    def _cut(self) -> Float64Array:
        haircut = self.m.pool[layout.POOL_HAIRCUT] * np.maximum(self.stress, 1.0)
        return np.minimum(haircut, layout.LARGEST_HAIRCUT)

    def _pay_due(self, hour: int, pnl: Float64Array, called: Float64Array) -> None:
        slot, old = hour % layout.RING_HOURS, hour % layout.HOURS_PER_DAY
        self.nav = self.nav + pnl
        self.calls = self.calls + called
        self.im_max = np.maximum(self.im_max, self.im.sum(axis=0))
        self.in_flight = self.in_flight - self.relief_ring[old]
        self.relief_ring[old] = 0.0
        received = self.receive[slot] + max(self.m.flow[hour], 0.0)
        payable = self.pay[slot] + max(-self.m.flow[hour], 0.0)
        self.receive[slot] = 0.0
        self.pay[slot] = 0.0
        self.net_paid += payable - received
        owed = self.unpaid + payable
        paid = np.minimum(self.cash + received, owed)
        self.cash = self.cash + received - paid
        short = owed - paid
        cut = self._cut()
        most = np.minimum(self.hqla, self.m.pool[layout.POOL_HQLA_CAP])
        sold = np.where(short > 0, np.minimum(np.rint(short / (1 - cut)) + 1.0, most), 0.0)
        proceeds = np.rint(sold * (1 - cut))
        covered = np.minimum(proceeds, short)
        self.hqla = self.hqla - sold
        self.cash = self.cash + proceeds - covered
        self.unpaid = short - covered
        self.inflow += received + proceeds
        self.outflow += paid + covered

    def _lines(self, ready: Any) -> Float64Array:
        m = self.m
        kept = self.nav / m.pool[layout.POOL_NAV]
        usable = (kept >= 1.0 - m.facility_covenant[:, None]) & ready
        return np.asarray((usable * m.facility_limit[:, None]).sum(axis=0))

    def _borrow(self, hour: int) -> None:
        asked = self.requested >= 0
        ready = asked & (hour >= self.requested + self.m.facility_notice[:, None])
        room = np.maximum(self._lines(ready) - self.drawn, 0.0)
        drawn = np.minimum(self.unpaid, room)
        self.drawn = self.drawn + drawn
        self.unpaid = self.unpaid - drawn
        self.inflow += drawn
        self.outflow += drawn
        self.drawn_max = np.maximum(self.drawn_max, self.drawn)
        self.unpaid_max = np.maximum(self.unpaid_max, self.unpaid)
        first = (self.unpaid > 0) & (self.exhausted < 0)
        self.exhausted = np.where(first, float(hour), self.exhausted)
        pool = self.m.pool
        own = pool[layout.POOL_CASH] + pool[layout.POOL_HQLA] * (1 - self._cut())
        self.need_max = np.maximum(self.need_max, self.net_paid - own)

    def _outlook(self, hour: int, out: Output) -> Float64Array:
        target = self.m.pool[layout.POOL_TARGET]
        own = self.cash + self.hqla * (1 - self._cut()) - self.unpaid
        ahead = own - self.pay.sum(axis=0)
        ask = (ahead < self.m.pool[layout.POOL_REQUEST]) & (self.requested < 0)
        self.requested = np.where(ask, float(hour), self.requested)
        room = np.maximum(self._lines(True) - self.drawn, 0.0)
        self.liquidity_min = np.minimum(self.liquidity_min, own + room)
        out.fan[hour] = own + room
        return np.maximum(target - ahead - room - self.in_flight, 0.0)

    def _sales(self, hour: int, want: Float64Array) -> None:
        m = self.m
        if m.pool[layout.POOL_SELL] <= 0:
            return
        stress = np.maximum(self.stress, 1.0)
        depth = np.minimum(stress, layout.LARGEST_DEPTH_LOSS)
        faded = self.root_sold * np.sqrt(m.pool[layout.POOL_DECAY])
        change = faded - self.root_sold
        relief = m.relief[:, None]
        rate = np.where(relief > 0, m.sale_share[:, None] / np.where(relief > 0, relief, 1), 0.0)
        sold = np.minimum(want * rate, m.sale_cap[hour][:, None] / depth)
        sold = np.minimum(sold, np.maximum(self.left - m.pool[layout.POOL_KEEP_SHARE], 0.0))
        crowd = 1.0 + m.pool[layout.POOL_CROWD]
        after = np.sqrt(faded**2 + crowd * sold)
        step = after - faded
        lost = np.rint(0.5 * m.cost[:, None] * sold * step * stress * np.sqrt(depth)).sum(axis=0)
        self.root_sold = after
        self.left = self.left - sold
        raised = (relief * sold).sum(axis=0)
        self.cash = self.cash - lost
        self.outflow += lost
        self.nav = self.nav - lost
        self.cost += lost
        self.raised += raised
        self.in_flight = self.in_flight + raised
        self.relief_ring[hour % layout.HOURS_PER_DAY] += raised
        self.size = self._sizes()
        scale = stress * np.sqrt(depth)
        self.impact = m.impact[:, None] * (change + step)[m.bucket] * scale

    def _sizes(self) -> Float64Array:
        m = self.m
        pieces = m.pair_coef[:, None] * self.left[m.pair_a] * self.left[m.pair_b]
        squared = np.zeros((len(m.im_start), len(self.paths)))
        owner = np.repeat(np.arange(len(m.im_start)), np.diff(m.pair_ptr.astype(np.int64)))
        np.add.at(squared, owner, pieces)
        return np.sqrt(np.maximum(squared, 0.0))

    def _record(self, out: Output) -> None:
        closing = self.m.pool[layout.POOL_CASH] + self.inflow - self.outflow
        values = {
            "calls_total": self.calls,
            "call_count": self.count,
            "im_max": self.im_max,
            "liquidity_min": self.liquidity_min,
            "drawn_max": self.drawn_max,
            "unpaid_max": self.unpaid_max,
            "need_max": self.need_max,
            "exhausted_hour": self.exhausted,
            "raised": self.raised,
            "impact_cost": self.cost,
            "margin_multiple_max": self.multiple_max,
            "nav_end": self.nav,
            "cash_error": closing - self.cash,
        }
        for i, name in enumerate(METRICS):
            out.metrics[i] = values[name]


def run_twin(model: Model, paths: int, seed: int, scenario: int = 0) -> Output:
    """Simulate with NumPy alone; same outputs as `compiled.run_paths` to 1e-9 relative."""
    return Twin(model, paths, seed, scenario).run()
