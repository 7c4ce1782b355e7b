"""Summaries of one side for all targets, each with the tables that it is made of."""

import jax.numpy as jnp

from jleaks.attacks import orders, sums


def _order(values, side):
    return orders.ordered(values, side) if side.few_left_out else None


def _places(own, values, side):
    order = _order(values, side)
    if order is None:
        return None
    found = orders.places(own, order)
    return order, found.of(jnp.arange(len(own)))


def moments(values, side):
    return sums.summaries(values, side, sums.whole(values, side) if side.few_left_out else None)


def log_means(log_values, side):
    if not side.few_left_out:
        return side.by_target(sums.log_mean, log_values)
    apart = sums.largest_apart(log_values, sums.exponentials, side)
    return sums.log_means(log_values, side, (sums.exponentials(log_values), apart))


def medians(values, side):
    order = _order(values, side)
    return orders.medians(values, side, None if order is None else orders.middle(order, side))


def extremes(values, side):
    return orders.extremes(values, side, _order(values, side))


def shares_above(own, values, side):
    return orders.shares_above(own, values, side, _places(own, values, side))


def interpolated_levels(own, values, side):
    return orders.interpolated_levels(own, values, side, _places(own, values, side))
