"""``python -m qwen_allinone`` is the command line."""

from qwen_allinone.cli import main

if __name__ == "__main__":
    main()
