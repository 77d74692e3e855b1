// What of a run stands on one axis.

/** Subjects that are compared with each other. */
export interface Group<S> {
  title: string;
  /** The model's name where it is one of the service's, all of whose subjects these are. */
  model?: string;
  subjects: S[];
  /** What times are related to; peers always to the run's first subject. */
  reference: string;
  /** A subject as it is told from the others. */
  name: (s: S) => string;
}

/** A run's models one by one; with other programs' models beside them all subjects are one group, since they were measured to be compared. */
export function groupsOf<S extends { model: string; label: string }>(subjects: S[], peers: string[] = []): Group<S>[] {
  const models = [...new Set(subjects.map((s) => s.model))];
  if (!models.some((m) => peers.includes(m))) {
    return models.map((model) => {
      const own = subjects.filter((s) => s.model === model);
      return { title: model, model, subjects: own, reference: own[0]?.label ?? "", name: (s) => s.label };
    });
  }
  const own = models.filter((m) => !peers.includes(m)), others = models.filter((m) => peers.includes(m));
  const name = (s: S) => `${s.model} on ${s.label}`;
  const reference = own.length > 1 ? "the model's first target" : subjects[0] ? name(subjects[0]) : "";
  return [{ title: [own.join(", "), others.join(", ")].filter(Boolean).join(" beside "), subjects, reference, name }];
}
