"""The command `bridge`, also as `python -m bridge`."""

from openbsp.avro_package import refuse_foreign_avro


def main() -> None:
    """Run the command line, with the project's own packages or not at all."""
    refuse_foreign_avro("bridge")
    from bridge.cli import main as run  # noqa: PLC0415 nothing that needs `avro` may be imported before

    run()


if __name__ == "__main__":
    main()
