"""The library's `ConfigTester` as one test per check, so that each of them counts."""

from common_tests import library_module

ConfigTester = library_module("test_configuration_common").ConfigTester


class ConfigConformance:
    """
    Base of the tests of one config class.

    Attributes:
        config_class (`type`): the class.
        arguments (`dict`): some arguments other than the defaults, of those that a JSON file keeps as they are.
        common_properties (`list[str]`, *optional*): attributes that a config of this kind has; by default those of a
            transformer.
        has_text_modality (`bool`): whether there is a vocabulary.
    """

    config_class = None
    arguments = {}
    common_properties = None
    has_text_modality = True
    model_tester = None

    def setUp(self):
        self.config_tester = ConfigTester(
            self,
            config_class=self.config_class,
            has_text_modality=self.has_text_modality,
            common_properties=self.common_properties,
            **self.arguments,
        )


def _make_test(name: str):
    def test(self):
        getattr(self.config_tester, name)()

    return test


for check in vars(ConfigTester):
    if check.startswith(("create_and_test_", "check_")):
        test_name = "test_" + check.removeprefix("create_and_").removeprefix("test_")
        setattr(ConfigConformance, test_name, _make_test(check))
