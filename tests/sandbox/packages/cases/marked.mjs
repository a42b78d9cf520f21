import assert from 'node:assert';
import { Marked } from 'marked';

const TEXT = `# Title

A *para* with \`code\`, [a link](https://x.test "t") and **bold**.

| a | b |
|---|--:|
| 1 | 2 |

- [x] done
- [ ] open

\`\`\`js
const a = '<b>';
\`\`\`
`;

export async function renders_markdown() {
  const marked = new Marked({ gfm: true });
  marked.use({ renderer: { heading: ({ tokens, depth }) => `<h${depth} id="t">${tokens.map((token) => token.raw).join('')}</h${depth}>\n` } });
  const html = await marked.parse(TEXT);
  for (const piece of ['<h1 id="t">Title</h1>', '<em>para</em>', '<a href="https://x.test" title="t">a link</a>', '<td align="right">2</td>', 'type="checkbox"', 'const a = &#39;&lt;b&gt;&#39;;']) {
    assert.ok(html.includes(piece), `${piece} in ${html}`);
  }
  assert.equal(marked.lexer(TEXT).filter((token) => token.type === 'table').length, 1);
}
