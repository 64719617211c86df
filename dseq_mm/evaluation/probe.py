"""A quick linear probe for small data.

Shape legend: ``n`` training and ``q`` test images, ``D`` channels.
"""

from torch import Tensor


def linear_accuracy(
    features: Tensor,
    labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    max_iter: int = 1000,
) -> float:
    """Measure logistic regression on standardized features.

    It is a quick measure for the embedded data, not the paper's linear protocol
    (SGD for 28 epochs with augmentation); do not compare it with published numbers.

    Args:
        features: Training features, ``(n, D)``.
        labels: Their classes, ``(n,)``.
        queries: Test features, ``(q, D)``.
        query_labels: Their classes, ``(q,)``.
        max_iter: Iterations of the solver at most.

    Returns:
        Accuracy in percent.

    Raises:
        ValueError: scikit-learn is not installed, or there is one class only.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ValueError(
            'the linear probe needs scikit-learn: pip install scikit-learn'
        ) from error
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=max_iter))
    probe.fit(features.float().numpy(), labels.numpy())
    return 100.0 * probe.score(queries.float().numpy(), query_labels.numpy())
