"""Party identification in the National Election Study, one year a posterior. Gelman and Hill (2007), ch. 4."""

from jaxtyping import Array, Float, Int

from jensen.targets._posteriordb.models._common import regress

Column = Float[Array, " n"]


def nes(
    partyid7: Column,
    real_ideo: Column,
    race_adj: Column,
    educ1: Column,
    gender: Column,
    income: Column,
    age_discrete: Int[Array, " n"],
) -> None:
    """partyid7 ~ N(X beta, sigma^2), flat priors.

    X = (1, real_ideo, race_adj, age 30-44, age 45-64, age 65 up, educ1, gender, income); age_discrete in 1..4.
    """
    ages = [(age_discrete == level).astype(partyid7.dtype) for level in (2, 3, 4)]
    regress("partyid7", partyid7, real_ideo, race_adj, *ages, educ1, gender, income)
