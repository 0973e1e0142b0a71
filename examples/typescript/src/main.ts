// Creates a sub-account with a limit for a customer, and sends with its key until the limit is reached.
//
//   npm ci && npm run generate && npm run build
//   TOLLGATE_URL=http://127.0.0.1:8080/graphql TOLLGATE_KEY=tg_live_… npm start
//
// TOLLGATE_KEY is a main account's key. An SMS costs 500 cents in the demo.
import { graphql } from "./generated/gql.js";
import type { SendMessageErrorCode, TypedDocumentString } from "./generated/graphql.js";

const CREDIT_LIMIT = 1500;

const CreateSubAccount = graphql(`
  mutation CreateSubAccount($input: CreateSubAccountInput!) {
    createSubAccount(input: $input) {
      account { name creditLimit }
      plainKey
      errors { code message }
    }
  }
`);

const SendMessage = graphql(`
  mutation SendMessage($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message { id cost }
      errors { code message }
    }
  }
`);

const Spent = graphql(`
  query Spent {
    account { totalSpent remainingCredit blockedBy }
  }
`);

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`Set ${name}.`);
  return value;
}

const url = setting("TOLLGATE_URL");

async function ask<Result, Variables>(
  key: string,
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ query: document.toString(), variables }),
  });
  const { data, errors } = (await response.json()) as { data?: Result; errors?: { message: string }[] };
  if (!data || errors) throw new Error(errors?.map(({ message }) => message).join(" ") ?? response.statusText);
  return data;
}

/** The reaction to a refusal. This does not compile if the schema has a new code. */
function whatToDo(code: SendMessageErrorCode): string {
  switch (code) {
    case "CREDIT_LIMIT_REACHED":
      return "the main account can raise the limit";
    case "INSUFFICIENT_BALANCE":
      return "the team has to top up";
    case "ACCOUNT_SUSPENDED":
    case "ACCOUNT_INACTIVE":
      return "the main account can reactivate it";
    case "OVERLOADED":
    case "CHANNEL_UNAVAILABLE":
      return "try again later";
    case "OPTED_OUT":
      return "the recipient has opted out of this channel";
    case "NO_PRICE":
      return "the server's operator has to set a price";
    case "INVALID_RECIPIENT":
    case "INVALID_CONTENT":
    case "VARIABLES_INVALID":
    case "METADATA_INVALID":
    case "IDEMPOTENCY_KEY_INVALID":
    case "IDEMPOTENCY_CONFLICT":
    case "SENDER_NOT_FOUND":
    case "SENDER_UNAVAILABLE":
    case "SEND_AT_INVALID":
    case "VALID_UNTIL_INVALID":
    case "VARIABLE_MISSING":
      return "the message has to be corrected";
    case "CONTACT_NOT_FOUND":
    case "CONTACT_UNREACHABLE":
      return "the contact has to be created, or needs an address";
    case "TEST_STORAGE_FULL":
      return "older TEST messages have to be deleted, which takes some days";
    case "TEMPLATE_NOT_FOUND":
    case "TEMPLATE_BODY_MISSING":
    case "TEMPLATE_FAILED":
      return "the template has to be corrected";
    default: {
      const unknown: never = code;
      return `the server is newer than this program: ${String(unknown)}`;
    }
  }
}

const { createSubAccount } = await ask(setting("TOLLGATE_KEY"), CreateSubAccount, {
  input: { name: "TypeScript customer", creditLimit: CREDIT_LIMIT, metadata: { plan: "small" } },
});
if (!createSubAccount?.account || !createSubAccount.plainKey) {
  throw new Error(createSubAccount?.errors.map(({ message }) => message).join(" "));
}
const { account, plainKey } = createSubAccount;
console.log(`${account.name} may spend ${account.creditLimit} cents.`);

// The send that crosses the limit is still accepted. The loop ends unless the price is 0.
for (let number = 1; ; number += 1) {
  const { sendMessage } = await ask(plainKey, SendMessage, {
    input: { to: "+12025550123", text: `Your order no. ${number}`, idempotencyKey: `order-${number}` },
  });
  const refusal = sendMessage?.errors[0];
  if (refusal) {
    console.log(`Message ${number} is refused: ${refusal.code}; ${whatToDo(refusal.code)}.`);
    break;
  }
  console.log(`Message ${number} is accepted for ${sendMessage?.message?.cost} cents.`);
}
const spent = (await ask(plainKey, Spent, {})).account;
console.log(`Spent: ${spent?.totalSpent} cents; left: ${spent?.remainingCredit}; blocked by: ${spent?.blockedBy.join(", ")}.`);
