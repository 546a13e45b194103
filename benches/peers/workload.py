"""One workload, said twice: ten decisions a call over so many policies, half of them allowed. Each policy is about one kind of
document, lets readers view what they own or what is public, and knows nothing of the others. Messages are encoded by hand: there is
nothing to install, and the two servers get the same facts."""

DECISIONS = 10
PERSON = "alice"


def kinds(policies):
    """The kinds that a call asks about, spread over all of them."""
    return [number * policies // DECISIONS for number in range(DECISIONS)]


def owner(number):
    return PERSON if number % 2 == 0 else "bob"


# Protocol buffers


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(key, value):
    return field(1, key) + field(2, value)


def framed(message):
    """As gRPC sends it: not compressed, with its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def fields(message):
    """The numbers and contents of a message's fields."""
    at = 0

    def number():
        nonlocal at
        shift = value = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            assert key & 7 == 2, key
            length = number()
            yield key >> 3, message[at : at + length]
            at += length


def inner(message, *path):
    """All contents at a path of field numbers."""
    found = [message]
    for wanted in path:
        found = [content for one in found for number, content in fields(one) if number == wanted]
    return found


# Countersign


CEDAR_SCHEMA = """
entity Kind;
entity Document in [Kind] = { owner: User, public: Bool };
action view appliesTo { principal: [User], resource: [Document] };
"""

# The facts about documents come along with the call, as they do at the other server.
SUPPLY = """@id("supply") permit (
  principal in Group::"readers", action == Countersign::Action::"supply_entities", resource == Countersign::EntityType::"Document"
);
"""


def cedar(number):
    return (
        f'@id("view-{number}") permit (principal in Group::"readers", action == Action::"view", '
        f'resource in Kind::"kind{number}") when {{ resource.owner == principal || resource.public }};\n'
    )


def uid(kind, name):
    return field(1, kind) + field(2, name)


def countersign_request(policies):
    """`AuthorizeBatchRequest`."""

    def query(number, kind):
        document = uid("Document", f"d{number}")
        entity = [
            field(1, document),
            field(2, entry("owner", field(4, uid("User", owner(number))))),
            field(2, entry("public", field(1, 0))),
            field(3, uid("Kind", f"kind{kind}")),
        ]
        asked = [field(3, uid("Action", "view")), field(4, document), field(7, b"".join(entity))]
        return field(1, b"".join(asked))

    return framed(b"".join(query(number, kind) for number, kind in enumerate(kinds(policies))))


def countersign_allowed(answer):
    outcomes = inner(answer[5:], 1, 1, 1)
    assert len(outcomes) == DECISIONS, inner(answer[5:], 1, 2)
    return [outcome == 1 for outcome in outcomes]


# Cerbos


def cerbos_policy(number):
    return f"""apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: kind{number}
  version: default
  rules:
    - actions: [view]
      effect: EFFECT_ALLOW
      roles: [readers]
      condition:
        match:
          expr: request.resource.attr.owner == request.principal.id || request.resource.attr.public
"""


def cerbos_request(policies):
    """`CheckResourcesRequest`."""

    def resource(number, kind):
        attributes = [field(4, entry("owner", field(3, owner(number)))), field(4, entry("public", field(4, 0)))]
        described = field(1, f"kind{kind}") + field(3, f"d{number}") + b"".join(attributes)
        return field(4, field(1, "view") + field(2, described))

    principal = field(3, field(1, PERSON) + field(3, "readers"))
    asked = (resource(number, kind) for number, kind in enumerate(kinds(policies)))
    return framed(field(1, "r") + principal + b"".join(asked))


def cerbos_allowed(answer):
    effects = inner(answer[5:], 2, 2, 2)
    assert len(effects) == DECISIONS, answer
    return [effect == 1 for effect in effects]
