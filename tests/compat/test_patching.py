"""Replacing a function of a class or a module, once."""

from types import SimpleNamespace

from fairseq_lrn.compat.patching import patch


def louder(original):
    def replacement(*args):
        return original(*args) + "!"

    return replacement


class Greeter:
    def greet(self, name):
        """Say hello."""
        return f"hello {name}"

    @staticmethod
    def leave():
        return "bye"


def test_function_is_replaced_once():
    for _ in range(2):
        patch(Greeter, "greet", louder)
        patch(Greeter, "leave", louder)
    assert Greeter().greet("you") == "hello you!"
    assert Greeter.leave() == Greeter().leave() == "bye!"
    assert Greeter.greet.__doc__ == "Say hello."


def test_two_patches_of_a_function():
    def politer(original):
        return lambda *args: f"{original(*args)}, please"

    module = SimpleNamespace(name=lambda: "module")
    for _ in range(2):
        patch(module, "name", louder)
        patch(module, "name", politer)
    assert module.name() == "module!, please"


def test_function_of_a_module():
    module = SimpleNamespace(name=lambda: "module")
    for _ in range(2):
        patch(module, "name", louder)
    assert module.name() == "module!"
