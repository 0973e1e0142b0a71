// The generated types must allow and forbid these uses; `tsc --strict` checks them.
import type { ResultOf, VariablesOf } from "@graphql-typed-document-node/core";
import {
  CreateSubAccountDocument,
  LedgerDocument,
  MessageUpdatedDocument,
  SendMessageDocument,
  UpdateSubAccountDocument,
  UsageDocument,
} from "../generated/codegen/graphql.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const proves = <_ extends true>() => {};

// No scalar has the type `any`, and a field is nullable exactly if it is nullable in the schema.
type Created = NonNullable<ResultOf<typeof CreateSubAccountDocument>["createSubAccount"]>;
type Account = NonNullable<Created["account"]>;
proves<Same<Account["creditLimit"], number | null>>();
proves<Same<Account["metadata"], Record<string, unknown> | null>>();
proves<Same<Created["plainKey"], string | null>>();
type Entry = ResultOf<typeof LedgerDocument>["ledger"]["nodes"][number];
proves<Same<Entry["amount"], number>>();
proves<Same<Entry["createdAt"], string>>();
type Usage = NonNullable<ResultOf<typeof UsageDocument>["account"]>["usage"];
proves<Same<Usage["from"], string>>();
proves<Same<Usage["buckets"][number]["day"], string | null>>();
proves<Same<ResultOf<typeof MessageUpdatedDocument>["messageUpdated"]["updatedAt"], string>>();

// Null clears a field; a field that is left out is kept.
export const clear: VariablesOf<typeof UpdateSubAccountDocument> = {
  account: { externalId: "client-abc" },
  input: { creditLimit: null },
};
export const keep: VariablesOf<typeof UpdateSubAccountDocument> = { account: { id: "1" }, input: {} };
export const both: VariablesOf<typeof UpdateSubAccountDocument> = {
  // @ts-expect-error Exactly one id must be given.
  account: { id: "1", externalId: "client-abc" },
  input: {},
};
export const text: VariablesOf<typeof CreateSubAccountDocument> = {
  // @ts-expect-error Amounts are numbers.
  input: { name: "Client", creditLimit: "100" },
};

// A switch over the error codes of a mutation is exhaustive.
type Code = NonNullable<ResultOf<typeof SendMessageDocument>["sendMessage"]>["errors"][number]["code"];
export function isRetryable(code: Code): boolean {
  switch (code) {
    case "OVERLOADED":
    case "CHANNEL_UNAVAILABLE":
    case "CREDIT_LIMIT_REACHED":
    case "INSUFFICIENT_BALANCE":
    case "ACCOUNT_SUSPENDED":
      return true;
    case "ACCOUNT_INACTIVE":
    case "CONTACT_NOT_FOUND":
    case "CONTACT_UNREACHABLE":
    case "IDEMPOTENCY_CONFLICT":
    case "IDEMPOTENCY_KEY_INVALID":
    case "INVALID_CONTENT":
    case "INVALID_RECIPIENT":
    case "METADATA_INVALID":
    case "NO_PRICE":
    case "OPTED_OUT":
    case "SENDER_NOT_FOUND":
    case "SENDER_UNAVAILABLE":
    case "SEND_AT_INVALID":
    case "TEMPLATE_BODY_MISSING":
    case "TEMPLATE_FAILED":
    case "TEMPLATE_NOT_FOUND":
    case "TEST_STORAGE_FULL":
    case "VALID_UNTIL_INVALID":
    case "VARIABLES_INVALID":
    case "VARIABLE_MISSING":
      return false;
    default: {
      const never: never = code;
      return never;
    }
  }
}
