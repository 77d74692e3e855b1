/** The part of the network that a node is in: the first parts of its name, without numbers. */
export function stageOf(node: string): string {
  const [first = node] = node.split(".");
  const stage = /^(?:patch_embed|blocks)(\d)$/.exec(first)?.[1];
  return stage ? `stage ${stage}` : first === "norm" || first === "head" ? "head" : first;
}

/** Runs of neighbouring nodes of one stage: its name, where it begins and ends. */
export function stages(nodes: string[]): { name: string; from: number; to: number }[] {
  const out: { name: string; from: number; to: number }[] = [];
  nodes.forEach((n, i) => {
    const name = stageOf(n);
    const last = out.at(-1);
    if (last?.name === name) last.to = i + 1;
    else out.push({ name, from: i, to: i + 1 });
  });
  return out;
}
