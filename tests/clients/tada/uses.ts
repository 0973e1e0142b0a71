// gql.tada must infer these types; `tsc --strict` checks them.
import type { ResultOf, VariablesOf } from "gql.tada";
import type { CreateSubAccount, Ledger, SendMessage, UpdateSubAccount } from "../generated/tada/operations.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const proves = <_ extends true>() => {};

type Created = NonNullable<ResultOf<typeof CreateSubAccount>["createSubAccount"]>;
type Account = NonNullable<Created["account"]>;
proves<Same<Account["creditLimit"], number | null>>();
proves<Same<Account["metadata"], Record<string, unknown> | null>>();
proves<Same<ResultOf<typeof Ledger>["ledger"]["nodes"][number]["amount"], number>>();
type Code = NonNullable<ResultOf<typeof SendMessage>["sendMessage"]>["errors"][number]["code"];
proves<"CREDIT_LIMIT_REACHED" extends Code ? true : false>();
proves<string extends Code ? false : true>();

export const clear: VariablesOf<typeof UpdateSubAccount> = {
  account: { externalId: "client-abc" },
  input: { creditLimit: null },
};
export const neither: VariablesOf<typeof UpdateSubAccount> = {
  // @ts-expect-error Exactly one id must be given.
  account: {},
  input: {},
};
