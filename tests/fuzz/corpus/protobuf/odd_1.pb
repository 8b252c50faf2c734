
without_metricsM