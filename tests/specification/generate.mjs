// Writes documents.json and variables.json: the results of graphql-js for our documents, for mutations of them, and for
// operations with variables. `node generate.mjs --check` fails if the files would change. Uses the graphql-js of
// tests/clients.

import { readFileSync, writeFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { documents } from './documents.mjs'
import { variables } from './variables.mjs'

const here = (path) => new URL(path, import.meta.url)
const require = createRequire(here('../clients/package.json'))
const {
  GraphQLError, Kind, Lexer, Source, buildSchema, execute, getIntrospectionQuery, parse, print, validate, valueFromASTUntyped, version, visit,
} = require('graphql')

const MUTANTS_OF_TOKENS = 6_000
const MUTANTS_OF_NODES = 8_000

// Accepts the same values as src/graphql/scalars.rs, as far as these cases need.
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
  const schema = buildSchema(readFileSync(here(path), 'utf8'))
  for (const [name, [isValid, read]] of Object.entries(SCALARS)) {
    const scalar = schema.getType(name)
    if (!scalar) continue
    scalar.parseValue = (value) => {
      if (!isValid(value)) throw new GraphQLError(`not a ${name}`)
      return read(value)
    }
    scalar.parseLiteral = (node, given) => {
      if (name === 'JSONObject') refuseDuplicates(node)
      if (name === 'Cents' && node.kind !== Kind.INT && node.kind !== Kind.FLOAT) throw new GraphQLError('not Cents')
      if (name === 'JSONObject' && node.kind !== Kind.OBJECT) throw new GraphQLError('not an object')
      return scalar.parseValue(valueFromASTUntyped(node, given))
    }
  }
  return schema
}

// Input fields must be unique in every object (section 5.6.3). graphql-js does not check objects of custom scalars.
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
  // Type system definitions are not executable. The specification does not say which error that is.
  if (document.definitions.some(({ kind }) => kind !== Kind.OPERATION_DEFINITION && kind !== Kind.FRAGMENT_DEFINITION)) return 'syntax'
  try {
    return validate(schema, document).length === 0 ? 'valid' : 'invalid'
  } catch {
    // @skip or @include with a variable on the root field of a subscription.
    return 'invalid'
  }
}

// xorshift32, so that every run has the same numbers.
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

// A mutant is one edit of a document: [index of the document, start, end, new text].
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
    const found = []
    visit(parse(text), { enter: (node) => void (node.kind !== Kind.DOCUMENT && found.push(node)) })
    return found
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

function judged(schema, bases, mutants, count) {
  const seen = new Set(bases)
  const found = []
  for (const mutant of mutants) {
    const [base, start, end, text] = mutant
    const mutated = bases[base].slice(0, start) + text + bases[base].slice(end)
    if (seen.has(mutated)) continue
    seen.add(mutated)
    found.push([verdict(schema, mutated), ...mutant])
    if (found.length === count) return found
  }
}

function ofDocuments() {
  const schema = schemaOf('../../schema.graphql')
  const operations = here('../clients/operations/')
  const ours = readdirSync(operations).sort().map((name) => print(parse(readFileSync(new URL(name, operations), 'utf8'))))
  const introspections = [{}, { descriptions: false }, { specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true, oneOf: true }]
  const all = [...documents, ...ours, ...introspections.map(getIntrospectionQuery)]
  const withVerdicts = all.map((text) => [verdict(schema, text), text])
  // Mutants of these documents would have the same difference (differences.json).
  const differ = new Set(JSON.parse(readFileSync(here('differences.json'))).map(({ document }) => document))
  const isPlain = (text) => /^[ -~\n]+$/.test(text) && text.length < 600 && !differ.has(text)
  const bases = withVerdicts.flatMap(([said, text], index) => (said === 'valid' && isPlain(text) ? [index] : []))
  const texts = bases.map((index) => all[index])
  const named = (mutants) => mutants.map(([said, base, ...edit]) => [said, bases[base], ...edit])
  const mutants = [
    ...named(judged(schema, texts, mutantsOfTokens(texts), MUTANTS_OF_TOKENS)),
    ...named(judged(schema, texts, mutantsOfNodes(texts), MUTANTS_OF_NODES)),
  ]
  return file({ by: `graphql-js ${version}`, documents: withVerdicts, mutants })
}

// Resolves each field to its arguments as JSON.
const echo = { fieldResolver: (_, args, __, { fieldName }) => (fieldName === 'group' ? {} : JSON.stringify(args)) }

async function ofVariables() {
  const schema = schemaOf('variables.graphql')
  const cases = []
  for (const [text, given] of variables()) {
    const document = parse(text)
    if (validate(schema, document).length > 0) {
      cases.push(['invalid', text, given])
      continue
    }
    const { data } = await execute({ schema, document, variableValues: given, ...echo })
    cases.push(data === undefined ? ['refused', text, given] : ['executed', text, given, data])
  }
  return file({ by: `graphql-js ${version}`, cases })
}

// Formats JSON with one case per line.
function file(content) {
  const parts = Object.entries(content).map(([name, value]) => {
    const lines = Array.isArray(value) ? `[\n${value.map((item) => JSON.stringify(item)).join(',\n')}\n]` : JSON.stringify(value)
    return `${JSON.stringify(name)}: ${lines}`
  })
  return `{${parts.join(',\n')}}\n`
}

let failed = false
for (const [name, text] of [['documents.json', ofDocuments()], ['variables.json', await ofVariables()]]) {
  if (!process.argv.includes('--check')) writeFileSync(here(name), text)
  else if (readFileSync(here(name), 'utf8') === text) console.log(`  ok: ${name} has the results of graphql-js`)
  else {
    console.log(`  FAILED: ${name} differs from the results of graphql-js; run tests/specification/generate.mjs`)
    failed = true
  }
}
process.exitCode = failed ? 1 : 0
