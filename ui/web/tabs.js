// What a newcomer finds. Each tab has headers, and so a key, of its own.

export const DEFAULT_HEADERS = '{"Authorization": "Bearer "}';

const MAIN_ACCOUNT = `# For the key of a main account: tg_live_… without sub_.
# Put it into "Headers" below, after "Bearer ". The docs
# then show what it may do. The page forgets the key when
# you leave it.

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

# plainKey is the new sub-account's key, shown this once
# and never again.
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

const SUB_ACCOUNT = `# For the key of a sub-account: tg_live_sub_…
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

# Charges the team, and counts for the sub-account.
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

const BALANCE_CHANGED = `# For the key of a main account or of a sub-account.
# Put it into "Headers" below, after "Bearer ", and run it.
# Whatever is charged from then on is seen here at once.
# It ends when you stop it or go to another tab.

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
