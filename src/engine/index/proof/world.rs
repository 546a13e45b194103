//! A random world for [`super`]: a schema or none, entities in hierarchies (some of them not in the store), actions in
//! groups, policies of every form of scope, and queries by and about those that are there and those that are not.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use cedar_policy as cedar;
use proptest::prelude::*;

const TYPES: usize = 4;
const ENTITIES: usize = 14;
const ACTIONS: usize = 6;
const POLICIES: usize = 40;

/// What a policy may say after its scope; `{}` is an entity. Many of them fail on some query.
pub const CONDITIONS: [&str; 29] = [
    "",
    "",
    "",
    "when { true }",
    "when { false }",
    "unless { principal == resource }",
    "when { principal.n > 1 }",
    "when { resource.flag }",
    "when { resource.n }",
    "when { context.n }",
    "when { 9223372036854775807 + context.n > 0 }",
    "when { context has who && context.who in {} }",
    "when { context.who == {} }",
    "when { context.s like \"a*\" } unless { context.s == \"abc\" }",
    "when { ip(context.s).isLoopback() }",
    "when { decimal(context.s).lessThan(decimal(\"1.5\")) }",
    "when { context.many.contains(context.n) || resource.flag }",
    "when { principal in {} || principal.owner == resource }",
    "when { resource in [{}, principal] && [1, principal.n].contains(2) }",
    "when { if principal has n then principal.n == 1 else resource.n == 1 }",
    "when { principal is T1 && resource is T2 in {} }",
    "when { {a: principal, b: {c: resource.n}}.b.c == 1 }",
    "when { principal.hasTag(\"t\") && principal.getTag(\"t\") == 1 }",
    "when { resource.getTag(\"t\") >= -1 }",
    "unless { principal has owner.owner.n }",
    "unless { {}.flag }",
    "when { {} in principal || {} in resource }",
    "when { {} has owner && {}.owner.n == 1 }",
    "unless { (if context has who then {} else resource).n == 1 }",
];

/// What a context says.
const TEXTS: [&str; 5] = ["abc", "a", "127.0.0.1", "1.25", ""];

/// Every form of a principal's or resource's constraint; the last three fill a template's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Any,
    Is,
    In,
    IsIn,
    Eq,
    SlotIn,
    SlotIsIn,
    SlotEq,
}

pub const FORMS: [Form; 8] =
    [Form::Any, Form::Is, Form::In, Form::IsIn, Form::Eq, Form::SlotIn, Form::SlotIsIn, Form::SlotEq];

/// One side of a scope.
#[derive(Debug, Clone, Copy)]
pub struct Side {
    pub form: Form,
    type_name: usize,
    entity: usize,
}

#[derive(Debug, Clone)]
pub struct Policy {
    forbids: bool,
    pub principal: Side,
    pub resource: Side,
    /// None: any; one and not listed: `==`, else `in`.
    pub actions: Vec<usize>,
    pub is_list: bool,
    condition: usize,
    named: usize,
}

#[derive(Debug, Clone)]
struct Entity {
    type_name: usize,
    is_known: bool,
    parents: Vec<usize>,
    n: Option<i64>,
    flag: Option<bool>,
    owner: Option<usize>,
    tag: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Query {
    principal: usize,
    action: usize,
    resource: usize,
    n: Option<i64>,
    s: Option<&'static str>,
    who: Option<usize>,
    many: bool,
}

#[derive(Debug, Clone)]
pub struct World {
    pub has_schema: bool,
    applies_to: Vec<usize>,
    entities: Vec<Entity>,
    actions: Vec<Vec<usize>>,
    pub policies: Vec<Policy>,
}

fn side() -> impl Strategy<Value = Side> {
    (proptest::sample::select(&FORMS[..]), 0..TYPES + 1, 0..ENTITIES + 1).prop_map(|(form, type_name, entity)| Side {
        form,
        type_name,
        entity,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let actions = (proptest::collection::vec(0..ACTIONS + 1, 0..4), any::<bool>());
    (proptest::bool::weighted(0.3), side(), side(), actions, 0..CONDITIONS.len(), 0..ENTITIES + 1).prop_map(
        |(forbids, principal, resource, (actions, is_list), condition, named)| Policy {
            forbids,
            principal,
            resource,
            actions,
            is_list,
            condition,
            named,
        },
    )
}

fn entity() -> impl Strategy<Value = Entity> {
    let optional = |range| proptest::option::of(range);
    let parents = proptest::collection::vec(0..ENTITIES, 0..3);
    let fields = (optional(-1..4_i64), proptest::option::of(any::<bool>()), proptest::option::of(0..ENTITIES));
    (0..TYPES, proptest::bool::weighted(0.8), parents, fields, optional(-1..3_i64)).prop_map(
        |(type_name, is_known, parents, (n, flag, owner), tag)| Entity {
            type_name,
            is_known,
            parents,
            n,
            flag,
            owner,
            tag,
        },
    )
}

pub fn query() -> impl Strategy<Value = Query> {
    let who = proptest::option::of(0..ENTITIES + 1);
    let context = (proptest::option::of(-2..3_i64), proptest::option::of(proptest::sample::select(&TEXTS[..])), who);
    (0..ENTITIES + 1, 0..ACTIONS + 1, 0..ENTITIES + 1, context, any::<bool>()).prop_map(
        |(principal, action, resource, (n, s, who), many)| Query { principal, action, resource, n, s, who, many },
    )
}

pub fn world() -> impl Strategy<Value = World> {
    let entities = proptest::collection::vec(entity(), ENTITIES);
    let actions = proptest::collection::vec(proptest::collection::vec(0..ACTIONS, 0..3), ACTIONS);
    let policies = proptest::collection::vec(policy(), 1..POLICIES);
    (any::<bool>(), proptest::collection::vec(0..TYPES, 1..4), entities, actions, policies).prop_map(
        |(has_schema, applies_to, entities, actions, policies)| World {
            has_schema,
            applies_to,
            entities,
            actions,
            policies,
        },
    )
}

impl Entity {
    fn fields(&self, world: &World) -> String {
        let n = self.n.map(|n| format!("\"n\": {n}"));
        let flag = self.flag.map(|flag| format!("\"flag\": {flag}"));
        // The schema knows owners of the first type only.
        let owner = self.owner.filter(|owner| world.entities[*owner].type_name == 0);
        let owner = owner.map(|owner| format!("\"owner\": {{\"__entity\": {}}}", world.uid_json(owner)));
        n.into_iter().chain(flag).chain(owner).collect::<Vec<_>>().join(", ")
    }
}

impl World {
    /// The last number is of an entity that nobody knows.
    fn type_of(&self, entity: usize) -> usize {
        self.entities.get(entity).map_or(entity % TYPES, |entity| entity.type_name)
    }

    fn uid(&self, entity: usize) -> String {
        format!("T{}::\"e{entity}\"", self.type_of(entity))
    }

    fn uid_json(&self, entity: usize) -> String {
        format!("{{\"type\": \"T{}\", \"id\": \"e{entity}\"}}", self.type_of(entity))
    }

    fn cedar_uid(&self, entity: usize) -> cedar::EntityUid {
        self.uid(entity).parse().unwrap()
    }

    /// Parents come before their children: no cycles, and as deep as there are entities.
    pub fn entities_json(&self) -> String {
        let mut parts = Vec::new();
        for (at, entity) in self.entities.iter().enumerate().filter(|(_, entity)| entity.is_known) {
            let parents = entity.parents.iter().filter(|_| at > 0).map(|parent| self.uid_json(parent % at.max(1)));
            let parents = parents.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
            let tags = entity.tag.map(|tag| format!("\"t\": {tag}")).unwrap_or_default();
            let (uid, fields) = (self.uid_json(at), entity.fields(self));
            parts.push(format!(
                "{{\"uid\": {uid}, \"attrs\": {{{fields}}}, \"parents\": [{parents}], \"tags\": {{{tags}}}}}"
            ));
        }
        if !self.has_schema {
            parts.extend((0..ACTIONS).map(|action| {
                let parents = self.groups(action).map(|group| format!("{{\"type\": \"Action\", \"id\": \"a{group}\"}}"));
                let parents = parents.collect::<Vec<_>>().join(", ");
                format!("{{\"uid\": {{\"type\": \"Action\", \"id\": \"a{action}\"}}, \"attrs\": {{}}, \"parents\": [{parents}]}}")
            }));
        }
        format!("[{}]", parts.join(", "))
    }

    fn groups(&self, action: usize) -> impl Iterator<Item = usize> {
        let above: BTreeSet<_> =
            self.actions[action].iter().filter(|_| action > 0).map(|group| group % action.max(1)).collect();
        above.into_iter()
    }

    pub fn schema(&self) -> cedar::Schema {
        let types = (0..TYPES).map(|n| format!("T{n}")).collect::<Vec<_>>().join(", ");
        let mut text = String::new();
        for n in 0..TYPES {
            writeln!(text, "entity T{n} in [{types}] = {{ n?: Long, flag?: Bool, owner?: T0 }} tags Long;").unwrap();
        }
        let applies_to = self.applies_to.iter().map(|n| format!("T{n}")).collect::<BTreeSet<_>>();
        let applies_to = applies_to.into_iter().collect::<Vec<_>>().join(", ");
        for action in 0..ACTIONS {
            let groups = self.groups(action).map(|group| format!("\"a{group}\"")).collect::<Vec<_>>().join(", ");
            let groups = if groups.is_empty() { String::new() } else { format!("in [{groups}]") };
            writeln!(
                text,
                "action \"a{action}\" {groups} appliesTo {{ principal: [{applies_to}], resource: [{types}],
                    context: {{ n?: Long, s?: String, who?: T0, many?: Set<Long> }} }};"
            )
            .unwrap();
        }
        cedar::Schema::from_cedarschema_str(&text).unwrap().0
    }

    fn side(&self, name: &str, side: Side) -> String {
        let (entity, type_name) = (self.uid(side.entity), side.type_name);
        match side.form {
            Form::Any => name.to_owned(),
            Form::Is => format!("{name} is T{type_name}"),
            Form::In => format!("{name} in {entity}"),
            Form::IsIn => format!("{name} is T{type_name} in {entity}"),
            Form::Eq => format!("{name} == {entity}"),
            Form::SlotIn => format!("{name} in ?{name}"),
            Form::SlotIsIn => format!("{name} is T{type_name} in ?{name}"),
            Form::SlotEq => format!("{name} == ?{name}"),
        }
    }

    fn text(&self, policy: &Policy) -> String {
        let effect = if policy.forbids { "forbid" } else { "permit" };
        let actions: Vec<_> = policy.actions.iter().map(|action| format!("Action::\"a{action}\"")).collect();
        let action = match &actions[..] {
            [] => "action".to_owned(),
            [one] if policy.is_list => format!("action in {one}"),
            [one] => format!("action == {one}"),
            more => format!("action in [{}]", more.join(", ")),
        };
        let (principal, resource) = (self.side("principal", policy.principal), self.side("resource", policy.resource));
        let condition = CONDITIONS[policy.condition].replace("{}", &self.uid(policy.named));
        format!("{effect} ({principal}, {action}, {resource}) {condition};")
    }

    /// All policies; those with a slot as links of a template.
    pub fn policies(&self) -> cedar::PolicySet {
        let mut set = cedar::PolicySet::new();
        for (n, policy) in self.policies.iter().enumerate() {
            let (id, text) = (cedar::PolicyId::new(format!("p{n}")), self.text(policy));
            let slots = [(cedar::SlotId::principal(), policy.principal), (cedar::SlotId::resource(), policy.resource)];
            let slots: HashMap<_, _> = slots
                .into_iter()
                .filter(|(_, side)| matches!(side.form, Form::SlotEq | Form::SlotIn | Form::SlotIsIn))
                .map(|(slot, side)| (slot, self.cedar_uid(side.entity)))
                .collect();
            if slots.is_empty() {
                set.add(cedar::Policy::parse(Some(id), text).unwrap()).unwrap();
                continue;
            }
            let template = cedar::PolicyId::new(format!("t{n}"));
            set.add_template(cedar::Template::parse(Some(template.clone()), text).unwrap()).unwrap();
            // A second link of the same template, so that links share what is compiled.
            let mut turned = slots.clone();
            turned.values_mut().for_each(|uid| *uid = self.cedar_uid(policy.named));
            set.link(template.clone(), cedar::PolicyId::new(format!("l{n}")), turned).unwrap();
            set.link(template, id, slots).unwrap();
        }
        set
    }

    /// The entity that a query's context may name.
    pub fn who(&self, query: &Query) -> Option<cedar::EntityUid> {
        query.who.map(|who| self.cedar_uid(who))
    }

    pub fn request(&self, query: &Query, schema: Option<&cedar::Schema>) -> cedar::Request {
        use cedar::RestrictedExpression as Expression;
        let who = query.who.filter(|who| self.type_of(*who) == 0 || schema.is_none());
        let many = query.many.then(|| Expression::new_set([0, 1].map(Expression::new_long)));
        let fields = [
            ("n", query.n.map(Expression::new_long)),
            ("s", query.s.map(|text| Expression::new_string(text.to_owned()))),
            ("who", who.map(|who| Expression::new_entity_uid(self.cedar_uid(who)))),
            ("many", many),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let context = cedar::Context::from_pairs(fields).unwrap();
        let action = format!("Action::\"a{}\"", query.action).parse::<cedar::EntityUid>().unwrap();
        let (principal, resource) = (self.cedar_uid(query.principal), self.cedar_uid(query.resource));
        let asked = |schema| {
            cedar::Request::new(principal.clone(), action.clone(), resource.clone(), context.clone(), schema).ok()
        };
        // What the schema refuses never reaches the index; unchecked it is one more query.
        asked(schema).or_else(|| asked(None)).unwrap()
    }
}
