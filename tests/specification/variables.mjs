// Operations with variables for the schema in variables.graphql, as [document, variables]. These combine each position
// of a variable with each declared type and each value that a client can send.

// For each input type: the types with which a variable is declared, and the values of the variable.
const INT = { declared: ['Int', 'Int!', 'Int = 3', 'Int! = 3', 'Int = null', '[Int]', 'String'], values: [null, 0, 5, -5, 5.0, 1.5, 2147483647, 2147483648, 1e3, '5', true, [5], {}] }
const FLOAT = { declared: ['Float', 'Float!', 'Float = 1.5', 'Float = 2', 'Int'], values: [null, 0, 5, 1.5, -1e10, '1.5', false, [1.5], {}] }
const STRING = { declared: ['String', 'String!', 'String = "d"', 'String! = "d"', 'String = null', 'ID'], values: [null, '', 'x', 'é😀', 5, 1.5, true, ['x'], {}] }
const BOOLEAN = { declared: ['Boolean', 'Boolean!', 'Boolean = true'], values: [null, true, false, 0, 1, 'true', [true], {}] }
const ID = { declared: ['ID', 'ID!', 'ID = 5', 'ID = "d"', 'String'], values: [null, 'x', '', 5, -5, 1.5, true, ['x'], {}] }
const COLOR = { declared: ['Color', 'Color!', 'Color = RED', 'Color = null', 'String'], values: [null, 'RED', 'GREEN', 'red', 'BLUE', '', 0, true, ['RED'], {}] }
const CENTS = { declared: ['Cents', 'Cents!', 'Cents = 4500', 'Int'], values: [null, 4500, 0.04, -1, '4500', true, [1], {}] }
const JSON_OBJECT = { declared: ['JSONObject', 'JSONObject!', 'JSONObject = {a: 1}', 'String'], values: [null, {}, { a: [1, 'x', null, { b: true }] }, [], [{}], 'x', 5, true] }
const DATE_TIME = { declared: ['DateTime', 'DateTime!', 'DateTime = "2026-11-28T10:00:00Z"', 'String'], values: [null, '2026-11-28T10:00:00.000Z', '2026-11-28T10:00:00+02:00', '2026-11-28', 'nonsense', '', 5, true, ['2026-11-28T10:00:00Z'], {}] }
const DATE = { declared: ['Date', 'Date!', 'Date = "2026-11-28"', 'String'], values: [null, '2026-11-28', '2026-13-28', '2026-11', 'nonsense', 20261128, true, ['2026-11-28'], {}] }
const EITHER = { declared: ['Either', 'Either!', 'Either = {id: "d"}'], values: [null, {}, { id: 'x' }, { id: 5 }, { name: 'x' }, { id: 'x', name: 'y' }, { id: null }, { id: 'x', name: null }, { nonsense: 1 }, { id: true }, 'x', [{ id: 'x' }], []] }
const LIST = { declared: ['[Int]', '[Int!]', '[Int]!', '[Int!]!', '[Int] = [1, null]', '[Int] = 1', 'Int', '[[Int]]'], values: [null, [], [1, 2], [1, null], [null], 1, '1', [1, 'x'], [[1]], {}, true] }
const MATRIX = { declared: ['[[Int]]', '[[Int]]!', '[[Int]] = [[1], null]', '[Int]'], values: [null, [], [[]], [[1], [2]], [[1], null], [[null]], [1], [1, [2]], 1, [['x']], {}] }
const COLORS = { declared: ['[Color!]', '[Color!]!', '[Color]', '[Color!] = RED'], values: [null, [], ['RED'], ['RED', 'GREEN'], 'RED', [null], ['BLUE'], [['RED']], {}] }
const PATCH = {
  declared: ['Patch', 'Patch!', 'Patch = {int: 1}', 'Patch = {inner: {string: "d"}}', 'Strict'],
  values: [
    null, {}, { int: 5 }, { int: null }, { int: '5' }, { int: 5.0 }, { nonsense: 1 }, { int: 1, nonsense: 1 }, { intDefault: null }, { intDefault: 4 },
    { string: 'x', color: 'RED' }, { string: null, color: null }, { string: 5 }, { color: 'BLUE' }, { list: [1, null] }, { list: 1 }, { list: ['x'] },
    { inner: {} }, { inner: null }, { inner: { int: 5 } }, { inner: { inner: { inner: { int: null } } } }, { inner: { nonsense: 1 } }, { inner: [] }, { inner: 'x' },
    { either: { id: 'x' } }, { either: {} }, { either: { id: null } }, { json: { a: 1 } }, { json: [] }, { cents: 5 }, { cents: '5' }, { dateTime: 'nonsense' },
    { dateTime: '2026-11-28T10:00:00.000Z' }, [], [{}], 'x', 5, true,
  ],
}
const PATCHES = { declared: ['[Patch!]', '[Patch!]!', '[Patch]', 'Patch', 'Patch!'], values: [null, [], [{}], [{ int: 5 }, { int: null }], { int: 5 }, [null], [{ nonsense: 1 }], [[{}]], 'x'] }
const STRICT = { declared: ['Strict', 'Strict!', 'Strict = {int: 1}'], values: [null, {}, { int: 5 }, { int: null }, { int: 5, intDefault: null }, { int: 5, intDefault: 9 }, { string: 'x' }, { int: 5, string: 'x', nonsense: 1 }] }

// The positions of a variable $v, with the types and values of the variable.
const POSITIONS = [
  [INT, ['int(x: $v)', 'intDefault(x: $v)', 'intRequired(x: $v)', 'intRequiredDefault(x: $v)', 'list(x: $v)', 'list(x: [$v])', 'list(x: [1, $v, 2])', 'listRequired(x: [$v])', 'matrix(x: [[$v]])', 'matrix(x: [$v])',
    'patch(x: {int: $v})', 'patch(x: {intDefault: $v})', 'patch(x: {int: $v, string: "s"})', 'patch(x: {inner: {int: $v}})', 'patch(x: {inner: {inner: {int: $v, list: [$v]}}})', 'patch(x: {list: [1, $v]})',
    'strict(x: {int: $v})', 'strict(x: {int: 1, intDefault: $v})', 'patches(x: [{int: $v}, {}])', 'json(x: {a: $v, b: [$v], c: {d: $v}})', 'float(x: $v)', 'id(x: $v)', 'group { int(x: $v) group { int(x: $v) } }']],
  [FLOAT, ['float(x: $v)']],
  [STRING, ['string(x: $v)', 'patch(x: {string: $v})', 'id(x: $v)', 'strict(x: {int: 1, string: $v})', 'either(x: {name: $v})', 'json(x: {a: $v})', 'color(x: $v)']],
  [BOOLEAN, ['boolean(x: $v)', 'int(x: 1) @skip(if: $v)', 'int(x: 1) @include(if: $v)', 'group @skip(if: $v) { int }', 'group { ... @include(if: $v) { int } float }', 'group { int @skip(if: $v) int }', 'group { int @skip(if: $v) }']],
  [ID, ['id(x: $v)', 'either(x: {id: $v})', 'patch(x: {either: {id: $v}})']],
  [COLOR, ['color(x: $v)', 'colors(x: [$v])', 'colors(x: $v)', 'patch(x: {color: $v})']],
  [CENTS, ['cents(x: $v)', 'patch(x: {cents: $v})']],
  [JSON_OBJECT, ['json(x: $v)', 'patch(x: {json: $v})', 'json(x: {a: $v})']],
  [DATE_TIME, ['dateTime(x: $v)', 'patch(x: {dateTime: $v})']],
  [DATE, ['date(x: $v)']],
  [EITHER, ['either(x: $v)', 'patch(x: {either: $v})']],
  [LIST, ['list(x: $v)', 'listRequired(x: $v)', 'patch(x: {list: $v})', 'matrix(x: [$v])']],
  [MATRIX, ['matrix(x: $v)']],
  [COLORS, ['colors(x: $v)']],
  [PATCH, ['patch(x: $v)', 'patch(x: {inner: $v})', 'patches(x: [$v])', 'patches(x: $v)']],
  [PATCHES, ['patches(x: $v)']],
  [STRICT, ['strict(x: $v)']],
]

// Operations that are not combinations from the table.
const OTHERS = [
  ['{ int intDefault intRequiredDefault patch(x: {}) strict(x: {int: 1}) }', {}],
  ['{ int(x: null) intDefault(x: null) patch(x: {int: null, intDefault: null}) }', {}],
  ['{ intRequired }', {}], ['{ intRequired(x: null) }', {}], ['{ intRequiredDefault(x: null) }', {}], ['{ strict(x: {}) }', {}],
  ['{ list(x: 1) matrix(x: 1) colors(x: RED) patches(x: {}) }', {}],
  ['{ float(x: 1) id(x: 5) cents(x: 4.50) json(x: {a: RED}) }', {}],
  ['query ($a: Int, $b: Int) { patch(x: {int: $a, intDefault: $b}) }', { a: 1 }], ['query ($a: Int, $b: Int) { patch(x: {int: $a, intDefault: $b}) }', { b: 1 }],
  ['query ($a: Int) { int(x: $a) intDefault(x: $a) }', { a: 1, undeclared: { b: [1] } }], ['query ($a: Int) { ...F } fragment F on Query { patch(x: {int: $a}) }', {}],
  ['query ($a: Int!) { int(x: $a) }', {}], ['query ($a: Int! = 2, $s: Boolean! = true) { int(x: $a) @skip(if: $s) }', {}], ['query ($a: Int! = 2, $s: Boolean! = true) { int(x: $a) @skip(if: $s) }', { s: false }],
  ['query ($s: Boolean = true) { group @include(if: $s) { int } }', {}], ['query ($s: Boolean = true) { group @include(if: $s) { int } }', { s: null }],
  ['query ($p: Patch = {int: 1, list: 2, inner: {}}) { patch(x: $p) }', {}], ['query ($l: [[Int]] = 1) { matrix(x: $l) }', {}], ['query ($e: Either = {id: 5}) { either(x: $e) }', {}],
  ['query ($i: Int, $n: Int) { either(x: {}) int(x: $i) float(x: $n) }', {}], ['query ($n: String) { either(x: {id: "x", name: $n}) }', {}],
  ['query ($a: Int) { a: group { int(x: 1) } a: group { float } a: group { int(x: 1) b: int(x: $a) } }', {}],
  ['{ ...F ...G } fragment F on Query { group { int(x: 1) } } fragment G on Query { group { int(x: 1) float(x: 2) } }', {}],
  ['{ __typename group { __typename } }', {}],
]

export function* variables() {
  for (const [{ declared, values }, positions] of POSITIONS) {
    for (const position of positions) {
      for (const type of declared) {
        const document = `query ($v: ${type}) { ${position} }`
        yield [document, {}]
        for (const value of values) yield [document, { v: value }]
      }
    }
  }
  yield* OTHERS
}
