// Holds objects against the schemas of KEDA and the Prometheus operator: node judge.mjs FILE. Every kind that it names was found right.
import { readFileSync } from "node:fs";
import { loadAll } from "js-yaml";
import { ScaledObject, TriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { PodMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const models = { ScaledObject, TriggerAuthentication, PodMonitor };
for (const object of loadAll(readFileSync(process.argv[2], "utf8"))) {
  const Model = models[object.kind];
  if (Model) {
    new Model(object).validate();
    console.log(object.kind);
  }
}
