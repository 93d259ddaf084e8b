"""The avalanche model in plain NumPy, all paths at once: the oracle of the compiled kernel.

It reads the same `Model` and draws the same random numbers, but is written from the model's
description (docs/methodology/avalanche.md) with dense matrices and library functions, not from
the kernel's loops. Markets and calls are here, money in `twin_money`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.domain.arrays import Float64Array, Int64Array
from engine.kernels.avalanche import layout
from engine.kernels.avalanche.layout import METRICS, Model, Output, empty_output, normal_rows
from engine.kernels.avalanche.twin_money import TwinMoney
from engine.kernels.philox import STREAM_HOURLY, STREAM_MIXING, normals


def _dense(ptr: Any, rows: Any, coefs: Any, width: int) -> Float64Array:
    """Expand compressed rows; padding entries have coefficient zero."""
    matrix = np.zeros((len(ptr) - 1, width))
    for i in range(len(ptr) - 1):
        part = slice(int(ptr[i]), int(ptr[i + 1]))
        np.add.at(matrix[i], np.asarray(rows[part], dtype=np.int64), coefs[part])
    return matrix


class Twin(TwinMoney):
    """One simulation; `run` returns the same `Output` as the kernel, with everything kept."""

    def __init__(
        self,
        model: Model,
        paths: int,
        seed: int,
        scenario: int = 0,
        *,
        drive: Float64Array | None = None,
        scores: Float64Array | None = None,
    ) -> None:
        self.m = model
        self.paths = np.arange(paths)
        self.seed = seed
        self.scenario = scenario
        self.factors = len(model.group)
        self.drive = np.ones((model.shock.shape[0], paths)) if drive is None else drive
        self.scores = scores
        width = normal_rows(self.factors, len(model.keep))
        self.cholesky = _dense(model.chol_ptr, model.chol_row, model.chol_coef, width)
        self.lead = _dense([0, len(model.lead_row)], model.lead_row, model.lead_coef, width)[0]
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
        self.regime = np.full(paths, m.pool[layout.POOL_START_STRESS])
        self.stress_hours = np.zeros(paths)
        self.ewma = np.ones((agreements, paths))
        self.posted = np.ones((agreements, paths))
        self.pressed = np.zeros((agreements, paths))
        self.alive = np.ones((agreements, paths))
        self.exposure = rows(m.exposure_start)
        self.exposure_eod = rows(m.exposure_start)
        self.held = rows(m.held_start)
        self.im = rows(m.im_today)
        self.im_max = self.im.sum(axis=0)
        self.multiple_max = np.ones(paths)
        self.calls, self.count = np.zeros(paths), np.zeros(paths)
        self._start_money(paths)
        self.size = self._sizes()

    def run(self) -> Output:
        """Simulate all hours."""
        out = empty_output(self.m, len(self.paths), fan=True, record=True)
        for hour in range(len(self.m.stress)):
            basis = self._market(hour)
            pnl = self._profit(basis)
            called = self._windows(hour, out)
            self._pay_due(hour, pnl, called)
            self._raise_cash(hour)
            want = self._outlook(hour, out)
            window = hour // layout.WINDOW_HOURS
            out.windows[window] += called
            self._sales(hour, want)
            out.window_im[window] = self.im
            out.window_left[window] = self.left
            out.window_moves[window] = self.cumulative
        self._record(out)
        return out

    def _normals(self, hour: int) -> Float64Array:
        """Normals of the hour; with scores, those of a day are moved to add up to its score."""
        rows = normal_rows(self.factors, len(self.m.keep))
        blocks = rows // 4
        z = normals(self.seed, self.scenario, STREAM_HOURLY, self.paths, hour * blocks, rows)
        if self.scores is None:
            return z
        day, clock = divmod(hour, layout.HOURS_PER_DAY)
        scored = len(self.scores) // (len(self.m.stress) // layout.HOURS_PER_DAY) - 1
        if clock == 0:
            total = np.zeros((scored, len(self.paths)))
            for h in range(layout.HOURS_PER_DAY):
                first = (hour + h) * blocks
                hourly = normals(self.seed, self.scenario, STREAM_HOURLY, self.paths, first, scored)
                total += self.m.bridge[h] * hourly
            self.distance = self.scores[day * (scored + 1) :][:scored] - total
        z[:scored] += self.m.bridge[clock] * self.distance
        return z

    def _market(self, hour: int) -> Float64Array:
        m = self.m
        z = self._normals(hour)
        if hour % layout.HOURS_PER_DAY == 0:
            self.mixing = self._mix(hour // layout.HOURS_PER_DAY)
        extra = z[self.factors + len(m.keep) :]
        draw = extra[layout.REGIME_ROW]
        if hour > 0:
            stays = np.where(self.regime > 0, draw >= m.regime[1], draw < m.regime[0])
            self.regime = stays.astype(np.float64)
        self.stress_hours += self.regime
        multiple = np.exp(self.log_volatility)
        self.stress = multiple.mean(axis=0) * m.stress[hour]
        own = z[self.factors : self.factors + len(m.keep)]
        h = (
            m.keep[:, None] * self.log_volatility
            + m.lead_load[:, None] * (self.lead @ z)
            + m.own_load[:, None] * own
        )
        self.log_volatility = np.clip(h, -layout.LOG_VOLATILITY_LIMIT, layout.LOG_VOLATILITY_LIMIT)
        x = self._random_moves(hour, z, extra, multiple) + self.impact
        x = x + np.einsum("sk,sp->kp", m.shock[:, hour], self.drive)
        self.impact = np.zeros_like(self.impact)
        self.cumulative = self.cumulative + x
        size = np.abs(self.cumulative)
        reach = m.gamma_range[:, None]
        convexity = np.where(size <= reach, 0.5 * size**2, reach * (size - 0.5 * reach))
        basis = np.concatenate([x, convexity - self.convexity])
        self.convexity = convexity
        return basis

    def _random_moves(
        self, hour: int, z: Float64Array, extra: Float64Array, multiple: Float64Array
    ) -> Float64Array:
        m = self.m
        calm = self.cholesky @ z
        kept = np.where(self.regime > 0, 1.0 - m.drop[:, None], 1.0)
        common = np.where(self.regime > 0, m.turn[:, None] * extra[layout.COMMON_ROW], 0.0)
        level = m.volatility[hour][m.clock][:, None]
        scale = level * multiple[m.group] * self.heat[m.bucket] * self.mixing
        jumped = extra[layout.JUMP_ROW] < m.jump_terms[0]
        size = m.jump_terms[1] + m.jump_terms[2] * extra[layout.JUMP_SIZE_ROW]
        scale_now = m.jump_scale[hour][m.clock]
        jump = (m.jump * scale_now)[:, None] * np.where(jumped, size, 0.0)
        return np.asarray(scale * (kept * calm + common) + jump)

    def _mix(self, day: int) -> Float64Array:
        if self.scores is not None:
            rows = len(self.scores) // (len(self.m.stress) // layout.HOURS_PER_DAY)
            return np.asarray(self.scores[(day + 1) * rows - 1])
        degrees = int(self.m.pool[layout.POOL_DEGREES])
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
        pnl *= self.alive
        self.exposure = self.exposure + pnl
        return np.asarray(pnl.sum(axis=0))

    def _swing(self, r: Int64Array, eod: Any) -> Float64Array:
        """Volatility multiple at the windows of agreements `r`; the step rule moves it next day."""
        m = self.m
        norm = m.daily_norm[r][:, None]
        seen = self.exposure[r] - self.exposure_eod[r]
        own = self._pressed(r) - self.pressed[r]
        if m.pool[layout.POOL_SALES_IN_MARGIN] == 0.0:
            seen = seen - own
        with np.errstate(divide="ignore", invalid="ignore"):
            change = seen / norm
        u = np.where(norm > 0, change, 0.0) / np.maximum(self.size[r], 1e-9)
        decay = m.ewma_lambda[r][:, None]
        before = self.ewma[r].copy()
        updated = decay * before + (1 - decay) * u**2
        used = np.where(eod, updated, np.maximum(updated, self.ewma[r]))
        asked = np.maximum(np.sqrt(used), m.multiple_floor[0])
        step = m.step[r][:, None]
        swing = np.where(step > 0, self.posted[r], asked)
        raised = np.where(asked >= self.posted[r] * (1 + step), asked, self.posted[r])
        self.posted[r] = np.where(eod, raised, self.posted[r])
        self.ewma[r] = np.where(eod, updated, self.ewma[r])
        self.exposure_eod[r] = np.where(eod, self.exposure[r], self.exposure_eod[r])
        self.pressed[r] += np.where(eod, own, 0.0)
        at_end = eod[:, 0]
        self._note_caused(r[at_end], own[at_end], before[at_end])
        return np.asarray(swing)

    def _required(self, r: Int64Array, swing: Float64Array, multiple: Float64Array) -> Float64Array:
        m = self.m
        size = self.size[r]
        im = m.im_start[r][:, None] * size * multiple - m.im_threshold[r][:, None]
        beyond = np.maximum(swing[:, None, :] - np.array(layout.HINGES)[:, None], 0.0)
        curve = np.einsum("rh,rhp->rp", m.concentration_slope[r], beyond)
        add_on = (m.concentration_start[r][:, None] + curve) * size**1.5
        return np.asarray(np.rint(np.maximum(im, 0.0) + add_on) * self.alive[r])

    def _windows(self, hour: int, out: Output) -> Float64Array:
        m = self.m
        clock = hour % layout.HOURS_PER_DAY
        open_now = ((m.window_mask >> np.uint32(clock)) & np.uint32(1)).astype(bool)
        r = np.nonzero(open_now)[0]
        eod = (m.eod_hour[r] == clock)[:, None]
        share = m.stress_share[r][:, None]
        swing = self._swing(r, eod)
        multiple = share + (1 - share) * swing
        required = self._required(r, swing, multiple)
        threshold = m.vm_threshold[r][:, None]
        target = self.exposure[r] - np.clip(self.exposure[r], -threshold, threshold)
        vm = np.rint(target - self.held[r])
        vm = np.where(np.abs(vm) >= m.mta[r][:, None], vm, 0.0)
        call = self.alive[r] * (required - self.im[r] - vm)
        taken = eod | (call > m.trigger[r][:, None] * self.im[r])
        self.im[r] = np.where(taken, required, self.im[r])
        self.held[r] += np.where(taken, self.alive[r] * vm, 0.0)
        owed = np.where(taken, np.maximum(call, 0.0), 0.0)
        received = np.where(taken, np.maximum(-call, 0.0), 0.0)
        self._book_calls(hour, r, owed, received)
        out.calls[r] += owed
        out.window_calls[hour // layout.WINDOW_HOURS][r] += owed
        self.count += (owed > 0).sum(axis=0)
        if len(r):
            self.multiple_max = np.maximum(self.multiple_max, multiple.max(axis=0))
        return np.asarray(owed.sum(axis=0))

    def _record(self, out: Output) -> None:
        values = {
            "calls_total": self.calls,
            "call_count": self.count,
            "im_max": self.im_max,
            "margin_multiple_max": self.multiple_max,
            "stress_hours": self.stress_hours,
            **self._money_metrics(),
        }
        for i, name in enumerate(METRICS):
            out.metrics[i] = values[name]
        out.left[:] = self.left


def run_twin(model: Model, paths: int, seed: int, scenario: int = 0, **draws: Any) -> Output:
    """Simulate with NumPy alone; same outputs as `compiled.run_paths` to 1e-9 relative."""
    return Twin(model, paths, seed, scenario, **draws).run()
