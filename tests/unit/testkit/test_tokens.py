"""The tokens of a stack, which its services read once, when they start."""

import pytest

from openbsp.http.tokens.token_set import TokenSet, parse_inline
from openbsp_testkit.errors import TestkitError
from openbsp_testkit.tokens import TENANTS, Tokens


def test_a_suite_of_hundreds_of_tests_has_a_tenant_for_each() -> None:
    tokens = Tokens()
    accepted = TokenSet(parse_inline(tokens.variable))
    tenants = [tokens.bind() for _ in range(TENANTS)]
    assert len({tenant.organization_id for tenant in tenants}) == TENANTS >= 1000
    for tenant in tenants:
        token = accepted.authenticate(f"Bearer {tenant.token}".encode())
        assert token is not None
        assert token.organizations == {tenant.organization_id}
    with pytest.raises(TestkitError, match=r"let tests share a tenant .*`openbsp_stack.tenant\(\)`"):
        tokens.bind()


def test_they_fit_into_a_variable() -> None:
    assert len(Tokens().variable) + len("STREAMS_TOKENS=") < 128 * 1024
