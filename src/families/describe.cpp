#include "families/checkpoint.h"

namespace spikescope {

namespace {

const char* places_name(NormPlaces places) {
  switch (places) {
    case NormPlaces::before:
      return "before";
    case NormPlaces::branch:
      return "branch";
    case NormPlaces::sandwich:
      return "sandwich";
    case NormPlaces::after:
      return "after";
  }
  return "";
}

}  // namespace

Json to_json(const Architecture& a) {
  Json json = {
      {"family", a.family},
      {"n_layers", a.n_layers},
      {"d_model", a.d_model},
      {"n_heads", a.n_heads},
      {"n_kv_heads", a.n_kv_heads},
      {"head_dim", a.head_dim},
      {"mlp_width", a.mlp_width},
      {"vocabulary", a.vocabulary},
      {"context_length", a.context_length},
      {"norm_eps", a.norm_eps},
      {"norm_places", places_name(a.norm_places)},
      {"attention_bias", a.attention_bias},
      {"mlp_bias", a.mlp_bias},
      {"tied_embeddings", a.tied_embeddings},
      {"causal", a.causal},
      {"parameters", parameter_count(a)},
      {"parameters_by_part",
       {{"embeddings", parameter_parts(a).embeddings},
        {"attention", parameter_parts(a).attention},
        {"mlp", parameter_parts(a).mlp},
        {"head", parameter_parts(a).head}}},
      {"peculiarities", peculiarities(a)},
  };
  if (a.v_dim() != a.head_dim) json["v_head_dim"] = a.v_dim();
  if (!a.ropes.empty()) {
    json["rope_theta"] = a.ropes[0].theta;
    json["rope_dims"] = a.ropes[0].dims;
    json["rope_scaling"] = a.ropes[0].scaling;
  }
  if (a.ropes.size() > 1) {
    json["ropes"] = Json::array();
    for (const Rope& rope : a.ropes) json["ropes"].push_back({{"theta", rope.theta}, {"scaling", rope.scaling}});
  }
  return json;
}

Json to_json(const Checkpoint& checkpoint) {
  Json json = to_json(checkpoint.architecture());
  if (!checkpoint.tower().empty()) json["tower"] = checkpoint.tower();
  return json;
}

}  // namespace spikescope
