// Writes the verdicts of graphql-js to documents.json (for the documents and their mutants) and to variables.json.
// `node generate.mjs --check` fails if these files would change. graphql-js is installed in tests/clients.

import { readFileSync, writeFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { documents } from './documents.mjs'
import { variables } from './variables.mjs'

const local = (path) => new URL(path, import.meta.url)
const require = createRequire(local('../clients/package.json'))
const {
  GraphQLError, Kind, Lexer, Source, buildSchema, execute, getIntrospectionQuery, parse, print, validate, valueFromASTUntyped, version, visit,
} = require('graphql')

const MUTANTS_OF_TOKENS = 6_000
const MUTANTS_OF_NODES = 8_000

// Accepts the same values as src/graphql/scalars.rs for these cases.
const DATE = /^\d{4}-\d\d-\d\d$/
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/
const isDate = (value) => typeof value === 'string' && DATE.test(value) && !Number.isNaN(Date.parse(value))
const isDateTime = (value) => typeof value === 'string' && DATE_TIME.test(value) && !Number.isNaN(Date.parse(value))
const SCALARS = {
  Cents: [(value) => typeof value === 'number', (value) => value],
  JSONObject: [(value) => typeof value === 'object' && value !== null && !Array.isArray(value), (value) => value],
  Date: [isDate, (value) => value],
  DateTime: [isDateTime, (value) => new Date(value).toISOString()],
}

function schemaOf(path) {
  const schema = buildSchema(readFileSync(local(path), 'utf8'))
  for (const [name, [isValid, read]] of Object.entries(SCALARS)) {
    const scalar = schema.getType(name)
    if (!scalar) continue
    scalar.parseValue = (value) => {
      if (!isValid(value)) throw new GraphQLError(`not a ${name}`)
      return read(value)
    }
    scalar.parseLiteral = (node, values) => {
      if (name === 'JSONObject') refuseDuplicates(node)
      if (name === 'Cents' && node.kind !== Kind.INT && node.kind !== Kind.FLOAT) throw new GraphQLError('not Cents')
      if (name === 'JSONObject' && node.kind !== Kind.OBJECT) throw new GraphQLError('not an object')
      return scalar.parseValue(valueFromASTUntyped(node, values))
    }
  }
  return schema
}

// Input fields must be unique in any object (section 5.6.3). graphql-js does not check objects in scalars.
function refuseDuplicates(node) {
  visit(node, {
    ObjectValue(object) {
      const names = object.fields.map((field) => field.name.value)
      if (new Set(names).size < names.length) throw new GraphQLError('duplicate field')
    },
  })
}

function verdict(schema, text) {
  let document
  try {
    document = parse(text)
  } catch {
    return 'syntax'
  }
  // Type system definitions are not executable. The specification does not define the kind of this error.
  if (document.definitions.some(({ kind }) => kind !== Kind.OPERATION_DEFINITION && kind !== Kind.FRAGMENT_DEFINITION)) return 'syntax'
  try {
    return validate(schema, document).length === 0 ? 'valid' : 'invalid'
  } catch {
    // graphql-js throws for @skip or @include with a variable on the root field of a subscription.
    return 'invalid'
  }
}

// xorshift32: the sequence is the same in each run.
function random(seed) {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function tokensOf(text) {
  const lexer = new Lexer(new Source(text))
  const tokens = []
  while (lexer.advance().kind !== '<EOF>') tokens.push(lexer.token)
  return tokens
}

// A mutant is a document with one edit: [index of the document, start, end, new text].
function* mutantsOfTokens(bases) {
  const next = random(20260928)
  const tokens = bases.map(tokensOf)
  const all = tokens.flatMap((list, base) => list.map(({ start, end }) => bases[base].slice(start, end)))
  for (;;) {
    const base = next(bases.length)
    const { start, end } = tokens[base][next(tokens[base].length)]
    const other = all[next(all.length)]
    const edits = [
      [start, end, ''],
      [start, end, other],
      [start, start, `${other} `],
      [start, start, `${bases[base].slice(start, end)} `],
    ]
    yield [base, ...edits[next(edits.length)]]
  }
}

function* mutantsOfNodes(bases) {
  const next = random(20250901)
  const nodes = bases.map((text) => {
    const list = []
    visit(parse(text), { enter: (node) => void (node.kind !== Kind.DOCUMENT && list.push(node)) })
    return list
  })
  const isValue = (kind) => kind.endsWith('Value') || kind === Kind.VARIABLE
  const isType = (kind) => kind.endsWith('Type')
  const family = (kind) => (isValue(kind) ? 'value' : isType(kind) ? 'type' : kind)
  const families = new Map()
  nodes.forEach((list, base) => {
    for (const { kind, loc } of list) {
      const texts = families.get(family(kind)) ?? []
      texts.push(bases[base].slice(loc.start, loc.end))
      families.set(family(kind), texts)
    }
  })
  families.get('value').push('null', '[]', '{}', '1', '1.5', '"x"', 'true', 'X', '[null]', '[[1]]', '$absent')
  families.get('type').push('Int', 'Int!', '[Int]', '[Int!]!', 'String', 'ID!', 'Query', 'Nonsense', 'JSONObject', 'Cents')
  for (;;) {
    const base = next(bases.length)
    const { kind, loc } = nodes[base][next(nodes[base].length)]
    const texts = families.get(family(kind))
    const text = texts[next(texts.length)]
    const edits = [[loc.start, loc.end, text], [loc.start, loc.end, text], [loc.start, loc.end, ''], [loc.end, loc.end, ` ${text}`]]
    yield [base, ...edits[next(edits.length)]]
  }
}

function withVerdict(schema, bases, mutants, count) {
  const seen = new Set(bases)
  const cases = []
  for (const mutant of mutants) {
    const [base, start, end, text] = mutant
    const mutated = bases[base].slice(0, start) + text + bases[base].slice(end)
    if (seen.has(mutated)) continue
    seen.add(mutated)
    cases.push([verdict(schema, mutated), ...mutant])
    if (cases.length === count) return cases
  }
}

function documentCases() {
  const schema = schemaOf('../../schema.graphql')
  const operations = local('../clients/operations/')
  const clientOperations = readdirSync(operations).sort().map((name) => print(parse(readFileSync(new URL(name, operations), 'utf8'))))
  const introspections = [{}, { descriptions: false }, { specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true, oneOf: true }]
  const all = [...documents, ...clientOperations, ...introspections.map(getIntrospectionQuery)]
  const withVerdicts = all.map((text) => [verdict(schema, text), text])
  // Documents in differences.json are not mutated, because their mutants would differ too.
  const differ = new Set(JSON.parse(readFileSync(local('differences.json'))).map(({ document }) => document))
  const isPlain = (text) => /^[ -~\n]+$/.test(text) && text.length < 600 && !differ.has(text)
  const bases = withVerdicts.flatMap(([result, text], index) => (result === 'valid' && isPlain(text) ? [index] : []))
  const texts = bases.map((index) => all[index])
  const withIndex = (mutants) => mutants.map(([result, base, ...edit]) => [result, bases[base], ...edit])
  const mutants = [
    ...withIndex(withVerdict(schema, texts, mutantsOfTokens(texts), MUTANTS_OF_TOKENS)),
    ...withIndex(withVerdict(schema, texts, mutantsOfNodes(texts), MUTANTS_OF_NODES)),
  ]
  return file({ by: `graphql-js ${version}`, documents: withVerdicts, mutants })
}

// Each field resolves to its arguments as JSON.
const echo = { fieldResolver: (_, args, __, { fieldName }) => (fieldName === 'group' ? {} : JSON.stringify(args)) }

async function variableCases() {
  const schema = schemaOf('variables.graphql')
  const cases = []
  for (const [text, values] of variables()) {
    const document = parse(text)
    if (validate(schema, document).length > 0) {
      cases.push(['invalid', text, values])
      continue
    }
    const { data } = await execute({ schema, document, variableValues: values, ...echo })
    cases.push(data === undefined ? ['refused', text, values] : ['executed', text, values, data])
  }
  return file({ by: `graphql-js ${version}`, cases })
}

// Writes one case per line.
function file(content) {
  const parts = Object.entries(content).map(([name, value]) => {
    const lines = Array.isArray(value) ? `[\n${value.map((item) => JSON.stringify(item)).join(',\n')}\n]` : JSON.stringify(value)
    return `${JSON.stringify(name)}: ${lines}`
  })
  return `{${parts.join(',\n')}}\n`
}

let failed = false
for (const [name, text] of [['documents.json', documentCases()], ['variables.json', await variableCases()]]) {
  if (!process.argv.includes('--check')) writeFileSync(local(name), text)
  else if (readFileSync(local(name), 'utf8') === text) console.log(`  ok: ${name} is current`)
  else {
    console.log(`  FAILED: ${name} is not current; run tests/specification/generate.mjs`)
    failed = true
  }
}
process.exitCode = failed ? 1 : 0
