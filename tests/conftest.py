"""One thread for every test: affectlib asks for it before numpy and torch are loaded."""

import affectlib  # noqa: F401
