"""The library with one guard taken out at a time, and the attacks that must then get through.

An attack that no change of the code can make fail proves nothing. Each row: the requirement, the file, what stands there, what is put in
its place, and the attacks (functions in this folder) that must fail. The text must be there exactly once, so a row cannot rot unnoticed.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    requirement: int
    file: str
    old: str
    new: str
    attacks: tuple[str, ...]


NETWORK, AUTHORIZATION, CALLBACK, TOKENS, SECRETS, TOOLS = (
    f"test_{name}.py::" for name in ("network", "authorization", "callback", "tokens", "secrets", "tools")
)

MUTANTS = [
    Mutant(
        1,
        "http/guard.py",
        "        for address in addresses:\n            self._judge(host, port, address)\n",
        "",
        (NETWORK + "test_r01_no_url_from_the_network_reaches_the_inside",),
    ),
    Mutant(
        1,
        "http/guard.py",
        "connect_tcp(str(address), port, share",
        "connect_tcp(host, port, share",
        (NETWORK + "test_r01_a_name_cannot_change_its_mind",),
    ),
    Mutant(2, "http/guard.py", '"168.63.129.16/32"', '"203.0.113.1/32"', (NETWORK + "test_r02_no_inner_address_is_even_tried",)),
    Mutant(2, "http/guard.py", '"64:ff9b::/96",', "", (NETWORK + "test_r02_no_inner_address_is_even_tried",)),
    Mutant(
        2, "http/guard.py", "_ISATAP = (0x00005EFE, 0x02005EFE)", "_ISATAP = ()", (NETWORK + "test_r02_no_inner_address_is_even_tried",)
    ),
    Mutant(2, "http/guard.py", " and not address.is_multicast", "", (NETWORK + "test_r02_no_inner_address_is_even_tried",)),
    Mutant(
        3,
        "http/guard.py",
        "        if _entry(host, port) not in self._allowed_hosts:\n",
        "        if not any(entry.startswith(host) for entry in self._allowed_hosts):\n",
        (NETWORK + "test_r03_an_entry_opens_one_place_only",),
    ),
    Mutant(
        4,
        "oauth/urls.py",
        'if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback_host(parts.hostname)):',
        'if parts.scheme not in ("https", "http"):',
        (NETWORK + "test_r04_no_clear_text",),
    ),
    Mutant(
        5,
        "oauth/discovery.py",
        "if hint and not same_origin(hint, server.url):",
        "if False:",
        (NETWORK + "test_r05_resource_metadata_stays_at_home",),
    ),
    Mutant(
        6,
        "http/driving.py",
        "stream=True, follow_redirects=False",
        "stream=True, follow_redirects=True",
        (NETWORK + "test_r06_no_oauth_request_is_redirected",),
    ),
    Mutant(
        7,
        "connections/endpoint.py",
        " or not same_origin(following.url, self._url)",
        "",
        (NETWORK + "test_r07_the_token_goes_home_only",),
    ),
    Mutant(
        8, "http/driving.py", "MAX_DOCUMENT = 256 * 1024", "MAX_DOCUMENT = 2**34", (NETWORK + "test_r08_an_endless_answer_is_not_read",)
    ),
    Mutant(
        8,
        "connections/endpoint.py",
        "MAX_JSON = 4 * 1024 * 1024",
        "MAX_JSON = 1024 * 1024",
        (NETWORK + "test_r08_a_large_answer_within_the_limit_is_read",),
    ),
    Mutant(
        8,
        "http/client.py",
        'if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):',
        "if False:",
        (NETWORK + "test_r08_a_compressed_answer_is_refused",),
    ),
    Mutant(
        8,
        "connections/wire.py",
        "MAX_CONTAINERS = 500_000",
        "MAX_CONTAINERS = 50_000_000",
        (NETWORK + "test_r08_no_answer_costs_much_memory",),
    ),
    Mutant(9, "http/driving.py", "anyio.fail_after(deadline)", "anyio.fail_after(60)", (NETWORK + "test_r09_whoever_dribbles_is_left",)),
    Mutant(
        9,
        "connections/connection.py",
        "anyio.fail_after(self._home.timeout)",
        "anyio.fail_after(60)",
        (NETWORK + "test_r09_whoever_dribbles_is_left",),
    ),
    Mutant(
        10,
        "connections/dispatcher.py",
        "MAX_RESUMPTIONS = 5",
        "MAX_RESUMPTIONS = 8",
        (NETWORK + "test_r10_a_stream_is_not_resumed_for_ever",),
    ),
    Mutant(
        11,
        "connections/session.py",
        "MAX_PAGES = 50",
        "MAX_PAGES = 90",
        (NETWORK + "test_r11_listings_discoveries_and_nesting_are_bounded",),
    ),
    Mutant(
        12,
        "oauth/challenge.py",
        '[one for one in found if one[0] == "bearer"]',
        "found",
        (NETWORK + "test_r12_a_challenge_is_read_and_not_searched",),
    ),
    Mutant(
        12,
        "oauth/challenge.py",
        "MAX_CHALLENGE_LENGTH = 8_192",
        "MAX_CHALLENGE_LENGTH = 99_999",
        (NETWORK + "test_r12_a_huge_challenge_is_not_read",),
    ),
    Mutant(
        13,
        "oauth/decisions.py",
        "if is_new and not grant.accepted else",
        "if False else",
        (NETWORK + "test_r13_a_server_that_refuses_every_token_makes_no_loop",),
    ),
    Mutant(
        14,
        "http/client.py",
        """        transport=GuardedTransport(allowed_hosts=allowed_hosts, resolver=resolver, ssl_context=tls, proxy=proxy),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        trust_env=False,
""",
        "",
        (NETWORK + "test_r14_the_environment_names_no_proxy",),
    ),
    Mutant(15, "oauth/urls.py", r"""|\$\(|%""", "|%", (AUTHORIZATION + "test_r15_no_such_url_reaches_a_browser",)),
    Mutant(15, "oauth/urls.py", 'if "#" in url:', "if False:", (AUTHORIZATION + "test_r15_no_such_url_reaches_a_browser",)),
    Mutant(
        16,
        "oauth/authorization.py",
        'if taken & {"response_type", "client_id", *parameters}:',
        "if False:",
        (AUTHORIZATION + "test_r16_no_parameter_is_the_endpoints",),
    ),
    Mutant(
        17,
        "oauth/discovery.py",
        "if methods is None and not server.assume_pkce:",
        "if False:",
        (AUTHORIZATION + "test_r17_no_pkce_no_login",),
    ),
    Mutant(
        17,
        "oauth/discovery.py",
        'if methods is not None and "S256" not in methods:',
        "if False:",
        (AUTHORIZATION + "test_r17_no_pkce_no_login",),
    ),
    Mutant(
        17,
        "oauth/discovery.py",
        "if found is None and server.default_endpoints:",
        "if found is None:",
        (AUTHORIZATION + "test_r17_nothing_is_guessed",),
    ),
    Mutant(
        18,
        "oauth/authorization.py",
        "SECRET_BYTES = 32",
        "SECRET_BYTES = 16",
        (AUTHORIZATION + "test_r18_every_login_has_secrets_of_its_own",),
    ),
    Mutant(
        19,
        "oauth/discovery.py",
        "if not covers(resource, server.url):",
        "if False:",
        (AUTHORIZATION + "test_r19_a_token_is_for_this_server",),
    ),
    Mutant(
        20,
        "oauth/discovery.py",
        'if document.get("issuer") != issuer:',
        'if str(document.get("issuer")).rstrip("/") != issuer:',
        (AUTHORIZATION + "test_r20_an_issuer_speaks_for_itself",),
    ),
    Mutant(
        21,
        "oauth/authorization.py",
        "        return union(server.scopes)\n",
        "        return union(server.scopes, discovery.resource_scopes)\n",
        (AUTHORIZATION + "test_r21_nothing_widens_configured_scopes",),
    ),
    Mutant(
        22,
        "oauth/registration.py",
        "if not is_visible_ascii(client_id, 512):",
        "if False:",
        (AUTHORIZATION + "test_r22_a_registration_is_checked",),
    ),
    Mutant(
        22,
        "oauth/discovery.py",
        "    if server.issuer is None:\n        return _check_issuer(",
        "    if True:\n        return _check_issuer(",
        (AUTHORIZATION + "test_r22_a_secret_is_shown_to_its_issuer_only",),
    ),
    Mutant(
        23,
        "oauth/tokens.py",
        "ask(request.token_endpoint, form",
        'ask(f"{request.issuer}/token", form',
        (CALLBACK + "test_r23_the_callback_uses_what_was_recorded",),
    ),
    Mutant(
        24,
        "authorizing.py",
        "        check_issuer(callback, request)\n",
        "",
        (CALLBACK + "test_r24_a_forged_callback_changes_nothing",),
    ),
    Mutant(
        24,
        "oauth/authorization.py",
        "    if len(parameters) < len(pairs):\n",
        "    if False:\n",
        (CALLBACK + "test_r24_a_forged_callback_changes_nothing",),
    ),
    Mutant(
        25,
        "store/sqlmodel.py",
        "or_(open_still, abandoned)).values(claim)\n        return await self._write(lambda session: change(session, statement) == 1)",
        "or_(open_still, abandoned)).values(claim)\n        return await self._write(lambda session: change(session, statement) >= 0)",
        (CALLBACK + "test_r25_a_code_is_sent_once",),
    ),
    Mutant(26, "authorizing.py", "if request.key.user_id != user_id:", "if False:", (CALLBACK + "test_r26_only_who_asked_completes",)),
    Mutant(
        27,
        "oauth/answers.py",
        "isinstance(value, str) and _ERROR_CODE.fullmatch(value) else None",
        "isinstance(value, str) else None",
        (CALLBACK + "test_r27_no_text_of_the_server_passes",),
    ),
    Mutant(28, "pages/frame.py", 'referrer: str = "no-referrer"', 'referrer: str = "origin"', (CALLBACK + "test_r28_every_page_is_safe",)),
    Mutant(29, "loopback/listener.py", " or hosts != [ours.netloc]", "", (CALLBACK + "test_r29_the_listener_answers_its_browser_only",)),
    Mutant(
        30,
        "connections/dispatcher.py",
        '        response.encoding = "utf-8"',
        "        pass",
        (CALLBACK + "test_r30_whatever_is_answered_is_an_error_of_ours",),
    ),
    Mutant(
        30,
        "connections/call.py",
        "min(event.retry, LONGEST_RETRY)",
        "event.retry",
        (CALLBACK + "test_r30_whatever_is_answered_is_an_error_of_ours",),
    ),
    Mutant(
        31,
        "oauth/tokens.py",
        "if not is_visible_ascii(access, MAX_TOKEN_LENGTH):",
        "if not isinstance(access, str):",
        (TOKENS + "test_r31_no_such_token_is_kept",),
    ),
    Mutant(
        31,
        "oauth/tokens.py",
        "min(max(number, 0.0), MAX_TOKEN_LIFETIME.total_seconds())",
        "min(max(number, 0.0), 1e9)",
        (TOKENS + "test_r31_no_token_is_for_ever",),
    ),
    Mutant(
        32,
        "oauth/tokens.py",
        "ask(grant.token_endpoint, form",
        'ask(f"{grant.issuer}/oauth/token", form',
        (TOKENS + "test_r32_a_refresh_token_goes_to_its_own_endpoint_once",),
    ),
    Mutant(
        32,
        "oauth/answers.py",
        "if response.status_code == 429 or response.status_code >= 500:",
        "if False:",
        (TOKENS + "test_r32_trouble_ends_no_login",),
    ),
    Mutant(
        33,
        "store/sqlmodel.py",
        "col(table.server) == key.server, col(table.url) == key.url)",
        "col(table.server) == key.server)",
        (TOKENS + "test_r33_a_login_is_for_one_url",),
    ),
    Mutant(
        34,
        "authorizer.py",
        "return GrantKey(user_id, server,",
        "return GrantKey(user_id.strip(), server,",
        (TOKENS + "test_r34_users_are_compared_exactly",),
    ),
    Mutant(
        35,
        "http/client.py",
        "        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),\n",
        "",
        (TOKENS + "test_r35_users_share_nothing",),
    ),
    Mutant(
        36,
        "authorizer.py",
        "grant = await self.store.disconnect(kept)",
        "grant = await self.store.load_grant(kept)",
        (TOKENS + "test_r36_logging_out_never_fails_here",),
    ),
    Mutant(
        37,
        "store/sealing.py",
        '["langchain-mcp-oauth", 1, key_id, *identity]',
        '["langchain-mcp-oauth", 1, key_id]',
        (SECRETS + "test_r37_a_stolen_row_does_not_open",),
    ),
    Mutant(38, "store/_database.py", "os.O_EXCL, 0o600)", "os.O_EXCL, 0o644)", (SECRETS + "test_r38_the_file_is_its_owners_and_forgets",)),
    Mutant(
        38,
        "store/_database.py",
        "PRAGMA secure_delete=ON",
        "PRAGMA secure_delete=OFF",
        (SECRETS + "test_r38_the_file_is_its_owners_and_forgets",),
    ),
    Mutant(
        39,
        "oauth/tokens.py",
        'response.status_code, error_code(document.get("error")))',
        "response.status_code, str(document))",
        (SECRETS + "test_r39_a_server_that_repeats_secrets_does_not_get_them_written",),
    ),
    Mutant(
        39,
        "service.py",
        "answered with the JSON-RPC error {error.code}; its text is its own.",
        "answered with the JSON-RPC error {error}.",
        (CALLBACK + "test_r27_no_text_of_the_server_passes",),
    ),
    Mutant(
        39,
        "store/_rows.py",
        "    row.sealed = sealer.seal(json.dumps(asdict(value), default=_plain), row.identity)",
        "    sealer.seal, row.sealed = sealer.seal, json.dumps(asdict(value), default=_plain)",
        (SECRETS + "test_r39_a_server_that_repeats_secrets_does_not_get_them_written",),
    ),
    Mutant(
        40,
        "authorizer.py",
        "if self._start_url else request",
        "if False else request",
        (SECRETS + "test_r40_an_answer_carries_no_authority",),
    ),
    Mutant(
        41,
        "connections/wire.py",
        "secret.encode() in text or _ESCAPED.search(text) is not None",
        "secret.encode() in text",
        (SECRETS + "test_r41_a_token_that_comes_back_is_blotted_out",),
    ),
    Mutant(
        42,
        "names.py",
        "return bool(tool) and SEPARATOR not in server and SEPARATOR not in tool",
        "return bool(tool)",
        (TOOLS + "test_r42_no_tool_takes_anothers_name",),
    ),
    Mutant(43, "schemas.py", '"Cc", "Cf", "Co"', '"Cc", "Co"', (TOOLS + "test_r43_nothing_hidden_and_nothing_endless_is_shown",)),
    Mutant(43, "schemas.py", "[:LONGEST_TEXT]", "", (TOOLS + "test_r43_nothing_hidden_and_nothing_endless_is_shown",)),
    Mutant(44, "pinning.py", "    if changed:\n", "    if False:\n", (TOOLS + "test_r44_a_definition_does_not_change_behind_ones_back",)),
    Mutant(
        44,
        "store/sqlmodel.py",
        "{**before, **fingerprints, **before}",
        "{**before, **fingerprints}",
        (TOOLS + "test_r44_a_definition_does_not_change_behind_ones_back",),
    ),
    Mutant(
        45,
        "connections/session.py",
        "async def validate_tool_result(",
        "async def _leave_to_the_sdk(",
        (TOOLS + "test_r45_a_schema_runs_nothing",),
    ),
]
"""In the order of the requirements."""
