// A file of templates, as safetensors: read, shown, and made into every method's quantizers of the model that the seed
// is of. (HDF5 is the HDF5 library's to read: docs/security.md.)
#include "families/checkpoint.h"
#include "fuzz/fuzz.h"
#include "io/scratch_folder.h"
#include "planted_model.h"
#include "quant/simulated_activations.h"
#include "quant/template_file.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScratchFolder folder;
  static const std::unique_ptr<Checkpoint> checkpoint = [] {
    testing::write_planted_model(folder / "model", 1.0f);
    return Checkpoint::open(folder / "model");
  }();
  return fuzz::refused_or_read([&] {
    const std::filesystem::path file = fuzz::file_with(data, size);
    const SpikeTemplates templates = read_templates(file);
    to_json(templates);
    ranges_json(templates);
    why_not_applicable(templates);
    const Architecture& architecture = checkpoint->architecture();
    check_templates_of(templates, file, templates.info.model_sha256, architecture);
    for (const ActivationMethod& method : activation_methods())
      if (why_not_possible(method, templates).empty())
        fuzz::refused_or_read([&] { SimulatedActivations(architecture, templates, plan_of(method, 8, templates)); });
  });
}
