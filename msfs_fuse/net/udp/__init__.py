"""A domain's datagrams by UDP: unicast, multicast and static peers."""
