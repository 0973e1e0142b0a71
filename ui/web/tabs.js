// The tabs of a first visit. Each tab has its own headers, and therefore its own key.

export const DEFAULT_HEADERS = '{"Authorization": "Bearer "}';

const MAIN_ACCOUNT = `# For a main account's key: tg_live_… without sub_.
# Put it into "Headers" below, after "Bearer ". The docs
# then show what the key may do. The page forgets the key
# when you leave it.

query MainAccount {
  balance {
    balance
    currency
  }
  subAccounts(first: 10) {
    totalCount
    nodes {
      id
      name
      status
      totalSpent
      creditLimit
      isBlocked
    }
  }
}

# plainKey is the new sub-account's key. It is shown only
# this once.
mutation CreateSubAccount {
  createSubAccount(input: { name: "Client", creditLimit: 5000 }) {
    account {
      id
      name
      creditLimit
    }
    plainKey
    errors {
      code
      message
      field
    }
  }
}
`;

const SUB_ACCOUNT = `# For a sub-account's key: tg_live_sub_…
# Put it into "Headers" below, after "Bearer ".
# Amounts are cents. The balance is the team's; totalSpent
# and creditLimit are the sub-account's own.

query SubAccount {
  balance {
    balance
    currency
    totalSpent
    creditLimit
  }
  account {
    name
    isBlocked
    blockedBy
  }
}

# Charges the team's balance, and counts in the
# sub-account's totalSpent.
mutation SendMessage {
  sendMessage(input: { to: "+12025550123", text: "Hello" }) {
    message {
      id
      status
      cost
    }
    errors {
      code
      message
      field
    }
  }
}
`;

const BALANCE_CHANGED = `# For a main account's or a sub-account's key.
# Put it into "Headers" below, after "Bearer ", and run this.
# Every later charge is shown here immediately. The
# subscription ends when you stop it or change the tab.

subscription BalanceChanged {
  balanceChanged {
    balance
    totalSpent
    creditLimit
  }
}
`;

export const DEFAULT_TABS = [MAIN_ACCOUNT, SUB_ACCOUNT, BALANCE_CHANGED].map((query) => ({
  query,
  headers: DEFAULT_HEADERS,
}));
