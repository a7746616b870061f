"""The coverage-guided campaign (`make fuzz`): whatever strangers send is read without a surprise.

`targets` are functions of bytes that raise nothing on any input; `campaign` lets atheris (libFuzzer) loose on them, and
tests/security/test_fuzz_targets.py lets hypothesis do so in every test run.
"""
