"""Running jobs: workers, kernels, a cluster; what happens when one dies."""
