"""The command `streams`, also as `python -m streams`."""

from openbsp.avro_package import refuse_foreign_avro


def main() -> None:
    """Run the command line, with the project's own packages or not at all."""
    refuse_foreign_avro("streams")
    from streams.cli import main as run  # noqa: PLC0415 nothing that needs `avro` may be imported before

    run()


if __name__ == "__main__":
    main()
