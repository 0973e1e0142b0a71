// A list with Relay's pagination, at the root of the query and in the team.
import { graphql } from "relay-runtime";

export const list = graphql`
  fragment SubAccountList_query on Query
  @refetchable(queryName: "SubAccountListPageQuery")
  @argumentDefinitions(
    count: { type: "Int", defaultValue: 20 }
    cursor: { type: "String" }
    filter: { type: "SubAccountFilter" }
    orderBy: { type: "SubAccountOrder" }
  ) {
    subAccounts(first: $count, after: $cursor, filter: $filter, orderBy: $orderBy)
      @connection(key: "SubAccountList_subAccounts") {
      edges {
        node {
          id
          name
          remainingCredit
        }
      }
    }
  }
`;

export const ofTeam = graphql`
  fragment SubAccountList_team on Team {
    subAccounts(first: 20) @connection(key: "SubAccountList_team_subAccounts") {
      edges {
        node {
          id
          totalSpent
        }
      }
    }
  }
`;

export const page = graphql`
  query SubAccountListQuery($filter: SubAccountFilter, $orderBy: SubAccountOrder) {
    ...SubAccountList_query @arguments(filter: $filter, orderBy: $orderBy)
    team {
      ...SubAccountList_team
    }
  }
`;
