//! Costs, as upstream's estimator tells them for the same rules and schema.

use serde_json::{Value as Json, json};

use crate::cel::program::{Environment, compile_with_cost};
use crate::cel::schema::type_of;
use crate::cel::sizes::Sizes;

/// Rules, and what `apiextensions-apiserver` 0.36.3 says that they cost.
const TABLE: &[(&str, u64)] = &[
    ("self.n > 3", 3),
    ("has(self.a)", 1),
    ("self.a == 'abc'", 3),
    ("self.a.startsWith('ab')", 3),
    ("self.a.contains('abc')", 6),
    ("self.a.matches('[a-z]+')", 12),
    ("self.n > 1 && self.n < 9", 6),
    ("self.s.all(x, x == 'abc')", 53),
    ("self.l.all(x, x.k == 'a')", 27),
    ("'a' in self.s", 12),
    ("'a' in self.m", 3),
    ("self.m.all(k, self.m[k] == 'a')", 51),
    ("self.m.all(k, v, v == 'abc')", 33),
    ("self.s.all(i, v, v == 'abc')", 53),
    ("self.s.exists_one(x, x == 'a')", 44),
    ("self.s.exists(x, x.startsWith('a'))", 63),
    ("self.s.filter(x, x != 'a').size() > 1", 165),
    ("self.s.map(x, x + 'b').exists(y, y == 'ab')", 224),
    ("self.ul.all(x, self.ul.all(y, x == y))", 345_881_509_131_242_703),
    ("self.u == self.a", 8),
    ("self.e == 'abc'", 3),
    ("self.i == 5", 3),
    ("type(self.i) == int", 4),
    ("self.t > timestamp('2020-01-01T00:00:00Z')", 4),
    ("self.d > duration('1h')", 4),
    ("size(self.by) > 3", 4),
    ("string(self.by) == 'x'", 314576),
    ("(self.a + self.u).contains('x')", 629158),
    ("self.a.replace('a','bcd').size() > 3", 12),
    ("self.u.replace('a','').size() > 3", 629150),
    ("self.a.split(',').all(p, p.size() > 1)", 251),
    ("self.u.split(',').all(p, p.size() > 1)", 19_503_505),
    ("self.s.join(',') == 'x'", 24),
    ("self.ul.join(',') == 'x'", 329_853_068_906),
    ("self.a.find('[0-9]+') == 'x'", 13),
    ("self.a.lowerAscii() == 'x'", 7),
    ("self.s.isSorted()", 32),
    ("self.s.indexOf('a') > 1", 33),
    ("self.a.indexOf('a') > 1", 7),
    ("[1,2,3].sum() == self.n", 15),
    ("sets.contains(self.s, ['a','b'])", 33),
    ("sets.equivalent(self.s, ['a','b'])", 53),
    ("self.n == oldSelf.n", 4),
    ("self.n > 3 ? self.a == 'x' : self.u == 'y'", 6),
    ("url(self.a).getHost() == 'x'", 8),
    ("isURL(self.a)", 3),
    ("ip(self.a).isLoopback()", 7),
    ("isIP(self.a)", 6),
    ("cidr(self.a).containsIP('10.0.0.1')", 11),
    ("cidr(self.a).containsCIDR('10.0.0.0/8')", 14),
    ("quantity(self.a).isGreaterThan(quantity('1'))", 8),
    ("quantity(self.a) == quantity('1')", 8),
    ("self.?a.orValue('x') == 'b'", 4),
    ("self.?a.hasValue()", 3),
    ("self.l[0].k == 'a'", 5),
    ("self.m['x'] == 'a'", 4),
    ("self.um.all(k, self.um[k] > 1)", 3_595_115),
    ("self.ul[0] == 'a'", 4),
    ("{'a': self.n}['a'] > 1", 34),
    ("[self.a, self.u].exists(x, x == 'a')", 25),
    ("dyn(self.a) == 'x'", 4),
    ("self.s == ['a']", 13),
    ("self.l == oldSelf.l", 5),
    ("'%s'.format([self.a]) == 'x'", 14),
    ("self.a.substring(1) == 'x'", 7),
    ("self.a.trim().size() > 1", 8),
    ("self.s.map(x, x.size()).sum() > 3", 164),
    ("self.l.map(x, x.k).exists(y, y == 'q')", 90),
    ("self.s.max() == 'a'", 33),
    ("self.a in ['x','y']", 14),
    ("!(self.n == 1)", 3),
    ("-self.n == 1", 4),
    ("self.n + 1 == 2", 4),
    ("!format.dns1123Label().validate(self.a).hasValue()", 133),
    ("semver(self.a).major() == 1", 8),
    ("self.a.charAt(1) == 'x'", 4),
    ("self.s.transformList(i, v, v + 'x').exists(y, y == 'a')", 224),
    ("self.m.transformMap(k, v, v.size()).all(k, k == 'a')", 88),
    ("self.s.size() == self.s.filter(x, x == 'a').size()", 168),
    ("self.um.size() > 1", 4),
    ("duration(self.a) == duration('1h')", 5),
    ("int(self.a) == 1", 4),
    ("self.s.reverse() == self.s", 26),
    ("self.s.distinct().size() == 1", 215),
    ("self.s.sort() == self.s", 226),
    ("lists.range(3).all(i, i < 4)", 30),
    ("self.s.slice(0, 2) == self.s", 18),
    ("self.l.sortBy(x, x.k) == self.l", 129),
];

fn schema() -> Json {
    json!({"type": "object", "required": ["n"], "properties": {"a": {"type": "string", "maxLength": 10}, "u": {"type": "string"}, "n": {"type": "integer"}, "i": {"x-kubernetes-int-or-string": true}, "by": {"type": "string", "format": "byte"}, "e": {"type": "string", "enum": ["abc", "de"]}, "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"}, "l": {"type": "array", "maxItems": 4, "items": {"type": "object", "properties": {"k": {"type": "string", "maxLength": 3}}}}, "s": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}}, "ul": {"type": "array", "items": {"type": "string"}}, "m": {"type": "object", "maxProperties": 6, "additionalProperties": {"type": "string", "maxLength": 7}}, "um": {"type": "object", "additionalProperties": {"type": "integer"}}}})
}

#[test]
fn costs_are_those_of_upstream() {
    let schema = schema();
    let of = type_of(&schema, "self", false).unwrap();
    let environment = Environment::with(&[("self", of.clone()), ("oldSelf", of)]);
    let sizes = Sizes::of(&schema, false).unwrap();
    assert_eq!(sizes.most_in_a_request(), 349_525);
    let differing: Vec<String> = TABLE
        .iter()
        .filter_map(|(rule, wanted)| {
            let told = compile_with_cost(rule, &environment, &sizes).map(|(_, cost)| cost);
            (told.as_ref() != Ok(wanted)).then(|| format!("{rule}: {told:?}, not {wanted}"))
        })
        .collect();
    assert_eq!(differing, [""; 0]);
}
