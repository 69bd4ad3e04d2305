// BERT (arXiv 1810.04805): an encoder. Every token sees all others, norms come after the additions, and the logits of
// the masked-language-model head go through a dense layer first.

#include "families/llama_like.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable& tensors) {
  c.expect("is_decoder", false);
  c.expect("position_embedding_type", "absolute");
  c.expect("add_cross_attention", false);
  Architecture a = usual_sizes(c);
  a.causal = false;
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.norm_places = NormPlaces::after;
  a.norm_eps = c.number_or("layer_norm_eps", 1e-12);
  a.gated = false;
  a.activation = read_activation(c, "hidden_act", "gelu");
  a.attention_bias = a.attention_out_bias = a.mlp_bias = true;
  a.learned_positions = a.context_length;
  a.token_types = c.integer_or("type_vocab_size", 2);
  a.embedding_norm = true;
  a.final_norm = false;
  a.tied_embeddings = c.flag_or("tie_word_embeddings", true);
  a.head = tensors.find("cls.predictions.transform.dense.weight") != nullptr;
  a.head_transform = a.unembedding_bias = a.head;
  return a;
}

}  // namespace

Family bert_family() {
  return {"bert",
          "BERT",
          {"bert"},
          from_config,
          "bert.",
          {{Role::token_embedding, "bert.embeddings.word_embeddings.weight"},
           {Role::position_embedding, "bert.embeddings.position_embeddings.weight"},
           {Role::type_embedding, "bert.embeddings.token_type_embeddings.weight"},
           {Role::embedding_norm, "bert.embeddings.LayerNorm.weight|bert.embeddings.LayerNorm.gamma"},
           {Role::embedding_norm_bias, "bert.embeddings.LayerNorm.bias|bert.embeddings.LayerNorm.beta"},
           {Role::w_q, "bert.encoder.layer.{}.attention.self.query.weight"},
           {Role::b_q, "bert.encoder.layer.{}.attention.self.query.bias"},
           {Role::w_k, "bert.encoder.layer.{}.attention.self.key.weight"},
           {Role::b_k, "bert.encoder.layer.{}.attention.self.key.bias"},
           {Role::w_v, "bert.encoder.layer.{}.attention.self.value.weight"},
           {Role::b_v, "bert.encoder.layer.{}.attention.self.value.bias"},
           {Role::w_o, "bert.encoder.layer.{}.attention.output.dense.weight"},
           {Role::b_o, "bert.encoder.layer.{}.attention.output.dense.bias"},
           {Role::ln1,
            "bert.encoder.layer.{}.attention.output.LayerNorm.weight|"
            "bert.encoder.layer.{}.attention.output.LayerNorm.gamma"},
           {Role::ln1_bias,
            "bert.encoder.layer.{}.attention.output.LayerNorm.bias|"
            "bert.encoder.layer.{}.attention.output.LayerNorm.beta"},
           {Role::w_up, "bert.encoder.layer.{}.intermediate.dense.weight"},
           {Role::b_up, "bert.encoder.layer.{}.intermediate.dense.bias"},
           {Role::w_down, "bert.encoder.layer.{}.output.dense.weight"},
           {Role::b_down, "bert.encoder.layer.{}.output.dense.bias"},
           {Role::ln2, "bert.encoder.layer.{}.output.LayerNorm.weight|bert.encoder.layer.{}.output.LayerNorm.gamma"},
           {Role::ln2_bias, "bert.encoder.layer.{}.output.LayerNorm.bias|bert.encoder.layer.{}.output.LayerNorm.beta"},
           {Role::head_dense, "cls.predictions.transform.dense.weight"},
           {Role::b_head_dense, "cls.predictions.transform.dense.bias"},
           {Role::head_norm, "cls.predictions.transform.LayerNorm.weight|cls.predictions.transform.LayerNorm.gamma"},
           {Role::head_norm_bias, "cls.predictions.transform.LayerNorm.bias|cls.predictions.transform.LayerNorm.beta"},
           {Role::unembedding, "cls.predictions.decoder.weight"},
           {Role::b_unembedding, "cls.predictions.bias"}}};
}

}  // namespace spikescope
