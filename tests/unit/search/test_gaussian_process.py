import numpy as np

from nas.search.sampling.gaussian_process import fit


def test_the_process_interpolates_a_smooth_function_and_knows_where_it_knows_little():
    generator = np.random.default_rng(0)
    inputs = generator.uniform(0, 1, (40, 2))
    target = np.sin(3 * inputs[:, 0]) + inputs[:, 1] ** 2
    process = fit(inputs, target)
    probes = generator.uniform(0.1, 0.9, (50, 2))
    mean, deviation = process.predict(probes)
    truth = np.sin(3 * probes[:, 0]) + probes[:, 1] ** 2
    assert np.abs(mean - truth).max() < 0.05
    _, far = process.predict(np.array([[4.0, 4.0]]))
    assert far[0] > 3 * deviation.max()
