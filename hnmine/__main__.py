"""`python -m hnmine` is `hnmine`."""

from hnmine.cli import main

if __name__ == "__main__":
    main()
