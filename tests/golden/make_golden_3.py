#!/usr/bin/env python3
"""Golden numeric cases for BEMA, the bias-corrected moving average of the policy (arXiv 2508.00180).

Layout B, with the number contexts and the book of cases of make_golden_2.py: each case is computed in float64
and in 60 digits, the two must agree, and the second is stored.

Usage: python3 make_golden_3.py [output_dir]
Writes bema.json.
"""
import os
import sys

from make_golden_2 import Book


def op_bema(c, x):
    """EMA_t = (1 - b) EMA + b theta_t with b = age^-ema_power, reference = EMA_t + age^-bias_power (theta_t - theta_0),
    age = lag + multiplier t, at every `update_freq`-th step t from 1; EMA_0 = reference_0 = theta_0."""
    start = list(x["start"])
    average, reference = list(start), list(start)
    out = {"average": [], "reference": []}
    for t, policy in enumerate(x["policy"], start=1):
        if t % x["update_freq"] == 0:
            age = x["lag"] + x["multiplier"] * c.num(t)
            b = c.exp(-x["ema_power"] * c.log(age))
            a = c.exp(-x["bias_power"] * c.log(age))
            average = [(1 - b) * m + b * p for m, p in zip(average, policy)]
            reference = [m + a * (p - s) for m, p, s in zip(average, policy, start)]
        out["average"].append(list(average))
        out["reference"].append(list(reference))
    return out


def make_bema(folder):
    book = Book("BEMA golden cases", {"logs": "natural logarithm", "t": "the first step is 1"})
    book.op("bema", {
        "what": "reference that is a bias-corrected moving average of the policy",
        "inputs": "start[], policy[T][], update_freq, ema_power, bias_power, lag, multiplier",
        "expected": "average[T][] and reference[T][] after each step"})
    start = [0.0, 1.0, 0.5, -2.0]
    straight = [[0.1 * t, 1.0 - 0.2 * t, 0.5, -2.0 + 0.001 * t] for t in range(1, 9)]
    zigzag = [[(-1.0) ** t, 1.0 + 0.3 * (t % 3), 0.5 - t, -2.0] for t in range(1, 9)]
    keys = ("update_freq", "ema_power", "bias_power", "lag", "multiplier")
    for name, policy, values in (
            ("trl_defaults_each_step", straight, (1, 0.5, 0.2, 10.0, 1.0)),
            ("every_third", straight, (3, 0.5, 0.2, 10.0, 1.0)),
            ("never_reached", straight, (9, 0.5, 0.2, 10.0, 1.0)),
            ("zigzag", zigzag, (2, 0.7, 0.3, 4.0, 0.5)),
            ("average_is_the_policy", zigzag, (1, 0.0, 0.2, 10.0, 1.0)),
            ("whole_correction", zigzag, (1, 0.5, 0.0, 10.0, 1.0)),
            ("no_correction_left", straight, (1, 0.5, 40.0, 10.0, 1.0)),
            ("no_ageing", straight, (1, 0.5, 0.2, 4.0, 0.0)),
            ("young", straight, (1, 1.0, 1.0, 1.0, 1.0))):
        book.add("bema", "bema_" + name, op_bema,
                 {"start": start, "policy": policy, **dict(zip(keys, values))}, atol=1e-14)
    book.write(os.path.join(folder, "bema.json"))


if __name__ == "__main__":
    make_bema(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
