"""Checks of the generated client. Expects `tollgate_client` on the path."""

import datetime
import inspect
import typing

import tollgate_client as client
from tollgate_client.base_model import UNSET


def check(name: str, is_so: bool) -> None:
    print(f"  {'ok' if is_so else 'FAILED'}: {name}")


def written(value: client.UpdateSubAccountInput) -> dict[str, typing.Any]:
    return value.model_dump(by_alias=True, exclude_unset=True)


check("null clears the credit limit", written(client.UpdateSubAccountInput(credit_limit=None)) == {"creditLimit": None})
check("a field that is left out is not sent", written(client.UpdateSubAccountInput(name="Client")) == {"name": "Client"})
balance = client.Balance.model_validate(
    {"balance": {"balance": 0.04, "currency": "USD", "isSubAccount": True, "totalSpent": 4500, "creditLimit": None}}
)
assert balance.balance is not None
check("amounts are numbers", (balance.balance.balance, balance.balance.total_spent) == (0.04, 4500))
event = client.MessageUpdated.model_validate(
    {"messageUpdated": {"id": "1", "status": "DELIVERED", "errorCode": None, "updatedAt": "2026-11-23T10:00:00.000Z"}}
)
at = datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.timezone.utc)
check("a time has its time zone", event.message_updated.updated_at == at)
check("a code is an enum", {"CREDIT_LIMIT_REACHED", "OVERLOADED"} <= {code.value for code in client.SendMessageErrorCode})
check("a subscription is an iterator", inspect.isasyncgenfunction(client.Client.balance_changed))
check("an argument can be left out", inspect.signature(client.Client.messages).parameters["after"].default is UNSET)
