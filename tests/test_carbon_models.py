"""Linear models of carbon: what all of them keep, and what each of them says of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.column import CARBON, CHOICES, COLUMNS
from diffsoil.io import InputError
from diffsoil.processes.carbon import (
    ICBM,
    Carbon,
    CTool,
    RothC,
    RothCPassive,
    co2_ratio,
    compose_year,
    twelve_months,
)
from diffsoil.processes.carbon.linear import decompose, lost_share
from diffsoil.variables import QUALITIES

PLACES = 3
MODELS = {
    name: column["carbon"]
    for name, column in CARBON.items()
    if issubclass(column["carbon"], Carbon)
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def turnover(model, modifier):
    clay = jnp.asarray([0.0, 10.0, 35.0])
    process = model()
    rates = process.protected_rates(jnp.asarray([1.0, 0.8, 0.9]))
    return lost_share(rates, modifier), process.transfers(clay)


def year_of(model, seed=0):
    """Random pools, inputs and modifiers of a year, of carbon and 14C."""
    random = np.random.default_rng(seed)
    size = len(model.pools)
    inputs = jnp.asarray(random.uniform(0.0, 0.2, (2, 12, size, PLACES)))
    pools = jnp.asarray(random.uniform(0.0, 10.0, (2, size, PLACES)))
    modifier = jnp.asarray(random.uniform(0.0, 2.0, (12, PLACES)))
    decay = jnp.asarray([1.0, 0.9])
    return pools, inputs, *turnover(model, modifier), decay


@every_model
def test_pools_that_nothing_feeds_come_first(model):
    fed = {recipient for _, recipient in model().transfers(jnp.asarray(20.0))}
    assert fed == set(range(min(fed), len(model.pools)))
    assert set(model.entered) == set(QUALITIES)


@every_model
def test_no_carbon_is_made_or_lost(model):
    pools, inputs, loses, transfers, _ = year_of(model)
    after, co2 = twelve_months(pools, inputs, loses, transfers, jnp.ones(2))
    came = pools.sum(axis=1) + inputs.sum(axis=(1, 2))
    np.testing.assert_allclose(after.sum(axis=1) + co2, came, rtol=1e-13)
    assert np.all(np.asarray(co2) > 0)


@every_model
def test_a_composed_year_is_twelve_months(model):
    pools, inputs, loses, transfers, decay = year_of(model)
    size = len(model.pools)
    expected, gone = twelve_months(pools, inputs, loses, transfers, decay)
    year, co2 = compose_year(inputs, loses, transfers, decay)
    after = jnp.einsum("spl,tsl->tpl", year[:size], pools) * (decay**12)[:, None, None]
    np.testing.assert_allclose(after + year[size:], expected, rtol=1e-12)
    # the CO2 of carbon; 14C decays on its way
    found = jnp.einsum("sl,sl->l", co2[:size], pools[0]) + co2[size]
    np.testing.assert_allclose(found, gone[0], rtol=1e-12)


@every_model
def test_the_turnover_time_is_the_stock_that_unit_input_comes_to(model):
    """Months of constant input, until nothing changes; input is there from the end of its month."""
    process, clay = model(), jnp.asarray(20.0)
    entering = jnp.asarray([0.5, 0.4, 0.1])
    size = len(model.pools)
    into = jnp.zeros(size)
    for name, share in zip(QUALITIES, entering, strict=True):
        into = into.at[model.pools.index(process.entered[name])].add(share / 12.0)
    loses = lost_share(process.rates()[:, None], jnp.ones((1, 1)))[0, :, 0]

    def change(pools):
        return decompose(pools, loses, process.transfers(clay))[0] + into - pools

    month = np.stack([change(jnp.eye(size)[i]) - change(jnp.zeros(size)) for i in range(size)], 1)
    held = np.linalg.solve(month, -np.asarray(into)).sum()
    # a month's steps hold up to a month's input more than the continuum
    assert float(process.turnover_time(clay, entering)) == pytest.approx(held, abs=0.1)
    assert held > 5.0


@every_model
def test_a_pool_feels_as_much_protection_as_it_is_said_to(model):
    process = model()
    name = model.pools[-1].lower()
    freed = dataclasses.replace(process, protected=process.protected | {name: jnp.asarray(0.25)})
    rates = np.asarray(freed.protected_rates(jnp.asarray([1.0, 0.8])))
    np.testing.assert_allclose(rates[:-1, 1], 0.8 * rates[:-1, 0])
    assert rates[-1, 1] == pytest.approx((1 - 0.25 * 0.2) * rates[-1, 0])


def test_passive_carbon_follows_its_equation():
    """dP/dt = f k_hum HUM - k_passive P, by small steps from the model's own month."""
    process = RothCPassive()
    pools = jnp.asarray([0.0, 0.0, 0.0, 40.0, 5.0])
    step = 1e-3  # months
    loses = lost_share(process.rates()[:, None], jnp.ones((1, 1)), step)[0, :, 0]
    after, _ = decompose(pools, loses, process.transfers(jnp.asarray(20.0)))
    rate = float(after[4] - pools[4]) / (step / 12.0)
    assert rate == pytest.approx(0.02 * 0.02 * 40.0 - 0.0004 * 5.0, rel=1e-4)


def test_without_passive_carbon_it_is_rothc():
    passive = dataclasses.replace(RothCPassive(), passive_share=jnp.zeros(()))
    pools, inputs, loses, transfers, decay = year_of(RothCPassive)
    transfers = passive.transfers(jnp.asarray([0.0, 10.0, 35.0]))
    pools, inputs = pools.at[:, 4].set(0.0), inputs.at[:, :, 4].set(0.0)
    found, co2 = twelve_months(pools, inputs, loses, transfers, decay)
    expected, gone = twelve_months(
        pools[:, :4], inputs[:, :, :4], loses[:, :4], RothC().transfers(
            jnp.asarray([0.0, 10.0, 35.0])
        ), decay,
    )  # fmt: skip
    np.testing.assert_allclose(found[:, :4], expected, rtol=1e-13)
    np.testing.assert_allclose(co2, gone, rtol=1e-13)
    np.testing.assert_array_equal(found[:, 4], 0.0)


def test_a_month_of_rothc_loses_its_share_as_co2():
    ratio = float(co2_ratio(jnp.asarray(23.4)))
    loses = jnp.full(4, 0.5)
    _, co2 = decompose(jnp.ones(4), loses, RothC().transfers(jnp.asarray(23.4)))
    assert float(co2) == pytest.approx(2.0 * ratio / (ratio + 1.0), rel=1e-13)


def test_a_case_chooses_its_model_of_carbon(tmp_path):
    case = load_case("rothamsted")
    chosen = tmp_path / "rothamsted.toml"
    chosen.write_text('carbon = "rothc_passive"\n' + case.text)
    column = load_case(chosen).column()
    assert column.pools == ("DPM", "RPM", "BIO", "HUM", "PAS", "IOM")
    assert "carbon.k_passive" in column.parameters()
    assert "carbon.k_passive" not in case.column().parameters()


def test_inert_carbon_beside_a_passive_pool_is_asked_about(tmp_path):
    text = 'carbon = "rothc_passive"\n' + load_case("rothamsted_liming").text
    assert "iom_percent = " in text
    path = tmp_path / "case.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"iom_percent: .* would count it twice"):
        load_case(path)
    path.write_text(text.replace("[set]\n", '[set]\n"carbon.iom_factor" = 0.0\n'))
    assert float(load_case(path).column().values()["carbon.iom_factor"]) == 0.0


def test_icbm_follows_its_analytic_solution():
    """Andren & Katterer (1997), without input: Y and O from the same start, after twenty years."""
    process = ICBM()
    k_young, k_old, h = (float(getattr(process, n)) for n in ("k_young", "k_old", "humification"))
    pools = jnp.asarray([3.0, 40.0])
    steps, months = 4800, 0.05
    loses = lost_share(process.rates()[:, None], jnp.ones((1, 1)), months)[0, :, 0]
    transfers = process.transfers(jnp.asarray(20.0))

    def step(pools, _):
        return decompose(pools, loses, transfers)[0], None

    after, _ = jax.lax.scan(step, pools, length=steps)
    years = steps * months / 12.0
    young = 3.0 * np.exp(-k_young * years)
    fed = h * k_young * 3.0 / (k_young - k_old)
    old = 40.0 * np.exp(-k_old * years) + fed * (np.exp(-k_old * years) - np.exp(-k_young * years))
    np.testing.assert_allclose(after, [young, old], rtol=2e-5, atol=1e-15)


def test_icbm_in_balance_holds_what_its_equations_say():
    process = ICBM()
    time = float(process.turnover_time(jnp.asarray(20.0), jnp.asarray([0.6, 0.4, 0.0])))
    assert time == pytest.approx(1 / 2.0 + 0.13 / 0.015, rel=1e-12)
    manure = float(process.turnover_time(jnp.asarray(20.0), jnp.asarray([0.0, 0.0, 1.0])))
    assert manure == pytest.approx(1 / 0.015, rel=1e-12)


def test_ctool_humifies_as_its_clay_says():
    """The humification coefficient 1 / (1 + R) of Petersen et al. (2005)."""
    transfers = CTool().transfers(jnp.asarray([10.0, 20.0]))
    np.testing.assert_allclose(transfers[0, 1], [1 / 5.30703, 1 / 4.64429], rtol=1e-5)
    co2 = 1.0 - sum(share for (donor, _), share in transfers.items() if donor == 1)
    np.testing.assert_allclose(co2, 0.628, rtol=1e-12)


def test_a_parameter_means_the_same_in_all_choices_of_a_slot():
    """Else the table of parameters would tell of one of them only."""
    declared: dict[str, tuple] = {}
    for key, slot in CHOICES.items():
        for by_column in slot.values():
            for column, make in by_column.items():
                chosen = COLUMNS[column](["plants"]).with_choice(make())
                for name, p in chosen.parameters().items():
                    about = (p.unit, p.lower, p.upper, p.description)
                    assert declared.setdefault(name, about) == about, (key, name)
