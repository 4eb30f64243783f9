"""The contract: schemas, topic catalogue, columns, codec. Knows neither `bridge` nor `streams`.

The name is also that of Apache's package on PyPI, which this project never depends on.
"""

CONTRACT_OF = "openbsp-stream-bridge"
"""Distinguishes this package from Apache's, which has the same name; see `openbsp.avro_package`."""
