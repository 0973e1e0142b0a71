"""Creates a sub-account with a limit for a customer, and sends with its key until the limit is reached.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/ariadne-codegen
    TOLLGATE_URL=http://127.0.0.1:8080/graphql TOLLGATE_KEY=tg_live_… venv/bin/python main.py

TOLLGATE_KEY is a main account's key. An SMS costs 500 cents in the demo.
"""

import itertools
import os
from typing import assert_never

from tollgate_client import Client, CreateSubAccountInput, SendMessageInput
from tollgate_client import SendMessageErrorCode as Code

CREDIT_LIMIT = 1500


def client_with(key: str) -> Client:
    return Client(url=os.environ["TOLLGATE_URL"], headers={"Authorization": f"Bearer {key}"})


def what_to_do(code: Code) -> str:
    """The reaction to a refusal. A type checker reports codes that are new in the schema."""
    match code:
        case Code.CREDIT_LIMIT_REACHED:
            return "the main account can raise the limit"
        case Code.INSUFFICIENT_BALANCE:
            return "the team has to top up"
        case Code.ACCOUNT_SUSPENDED | Code.ACCOUNT_INACTIVE:
            return "the main account can reactivate it"
        case Code.OVERLOADED | Code.CHANNEL_UNAVAILABLE:
            return "try again later"
        case Code.OPTED_OUT:
            return "the recipient has opted out of this channel"
        case Code.NO_PRICE:
            return "the server's operator has to set a price"
        case (
            Code.INVALID_RECIPIENT
            | Code.INVALID_CONTENT
            | Code.VARIABLES_INVALID
            | Code.METADATA_INVALID
            | Code.IDEMPOTENCY_KEY_INVALID
            | Code.IDEMPOTENCY_CONFLICT
            | Code.SENDER_NOT_FOUND
            | Code.SENDER_UNAVAILABLE
            | Code.SEND_AT_INVALID
            | Code.VALID_UNTIL_INVALID
            | Code.VARIABLE_MISSING
        ):
            return "the message has to be corrected"
        case Code.CONTACT_NOT_FOUND | Code.CONTACT_UNREACHABLE:
            return "the contact has to be created, or needs an address"
        case Code.TEST_STORAGE_FULL:
            return "older TEST messages have to be deleted, which takes some days"
        case Code.TEMPLATE_NOT_FOUND | Code.TEMPLATE_BODY_MISSING | Code.TEMPLATE_FAILED:
            return "the template has to be corrected"
        case _:
            assert_never(code)


def main() -> None:
    with client_with(os.environ["TOLLGATE_KEY"]) as manager:
        created = manager.create_sub_account(
            CreateSubAccountInput(name="Python customer", creditLimit=CREDIT_LIMIT, metadata={"plan": "small"})
        ).create_sub_account
    if created is None or created.account is None or created.plain_key is None:
        raise SystemExit(f"No sub-account was created: {created}")
    print(f"{created.account.name} may spend {created.account.credit_limit:g} cents.")

    with client_with(created.plain_key) as customer:
        # The send that crosses the limit is still accepted. The loop ends unless the price is 0.
        for number in itertools.count(1):
            sent = customer.send_message(
                SendMessageInput(to="+12025550123", text=f"Your order no. {number}", idempotencyKey=f"order-{number}")
            ).send_message
            if sent is None or sent.message is None:
                code = sent.errors[0].code if sent else Code.OVERLOADED
                print(f"Message {number} is refused: {code.value}; {what_to_do(code)}.")
                break
            print(f"Message {number} is accepted for {sent.message.cost:g} cents.")
        spent = customer.spent().account
    if spent is None:
        raise SystemExit("The key no longer has an account.")
    reasons = ", ".join(reason.value for reason in spent.blocked_by)
    print(f"Spent: {spent.total_spent:g} cents; left: {spent.remaining_credit:g}; blocked by: {reasons}.")


if __name__ == "__main__":
    main()
