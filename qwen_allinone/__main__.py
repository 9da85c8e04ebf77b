"""``python -m qwen_allinone``, and the command ``qwen-allinone``."""


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it silently, with exit code 130."""
    try:
        from qwen_allinone.cli import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
