"""scikit-learn's own checks of estimators."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from jensen.gp import GPClassifier, GPRegressor


# the classifier is trained in test_classifier.py; here each check has data of another shape, and training is the same
@parametrize_with_checks([GPRegressor(), GPClassifier(optimise=False)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
