"""Files of data sets: where each is found, with its SHA-256."""

from jensen.datasets._places import Bundled, Download, Shared

QPCR = Shared(
    "gp/guo_qpcr.csv",
    "80bb8dd8593c98b0b53b54fcc1afd191900cc3d8cfcff8cdb9a0f42f9340badc",
)

CO2 = Shared(
    "gp/mauna_loa_co2_statsmodels.npz",
    "882c12b084628be4283215bea2f4b1b596b4b801ba2c672e9b324b530ede6fe2",
)

OIL = Shared(
    "gp/three_phase_oil_flow_gpflow.npz",
    "15a0e02f861bc1e03ca32ef75144befa3060ea299788bac2facf9125064bf8c3",
)

BINARIZED_MNIST = Shared(
    "images/binarized_mnist_static_packed.npz",
    "608d4887bf41f26d2edf2570bf18cadd5d42ef8c1964cc170ef2401912470e28",
)

MNIST = Shared(
    "images/mnist_28x28.npz",
    "a7ca5941ed14a4e275a85c70d92dc1ec30216050a9a8efb4cd648939b6ce6b80",
)

OMNIGLOT = Shared(
    "images/omniglot_28x28_gray.npz",
    "666c8f9bf7a6c16ea758d4b5aa726eefbb768e99f1e5d78232e7dba2aaca70bc",
)

KNOWLEDGE_GRAPHS = Shared(
    "kg/kg_nations_kinships_umls.npz",
    "ba3ec6bf904b60cd2a0cd6bdf33c26da56ef3349691773b0df9d2dca59a5901e",
)

MUSIC = Shared(
    "music/polyphonic_music_4sets.npz",
    "bd5f3bc057d6b6b768434b0ebf0b0ce5f1396e1b834c6c95ee0fb4f002f9a155",
)

NEURAL = Shared(
    "neural/kramer_eden_case_studies.npz",
    "493179cdd6578ec59bbb54a3379d8e4ba882130280e69a78d1376b5479aff636",
)

PDB_DATA = Shared(
    "posteriordb/data.zip",
    "19e9ef88e97fab067e846e1c1d086920c487651304209e2bb13ceae8185390d0",
)

PDB_INDEX = Shared(
    "posteriordb/index.json",
    "d0ec040918400c7632840de1e42cd9a8ca24555c476d8d2f2fc359ed900fe008",
)

PDB_DRAWS = Shared(
    "posteriordb/reference_draws.npz",
    "48bad3298b161dab9347f0a4cf256d6cfe6d7319298ca9c722ade2c3c719b480",
)

PDB_SUMMARIES = Shared(
    "posteriordb/reference_summaries.json",
    "7762f24bd1b0dea8eab40eb761da94639fca383d17157411342f42bdbe87a9d1",
)

MOVIELENS = Shared(
    "recsys/movielens_latest_small.npz",
    "d218dc154768057282b62d871460ecff379422df963992ef1cb4dfd5ac19c6f9",
)

MOVIETWEETINGS = Shared(
    "recsys/movietweetings_100k.npz",
    "dd5b692c8a9212cbc65ed62ce83cdb2e59c057c64865a0ad357b8d8fac5e91c9",
)

GLM_EXTRA = Shared(
    "sbibm/bernoulli_glm_extra.npz",
    "ba91c6edd3ed130c43a85ef24fe636c1006897e987ad5a6657fc51d37be4d655",
)

SBIBM_META = Shared(
    "sbibm/meta.json",
    "c39f8431562913fa49481525afabffdb38c9c07cc968359ed372d695b1b1c651",
)

SBIBM = Shared(
    "sbibm/reference_posteriors.npz",
    "869e49f734ddb7039ef06e4f407435a4ecc9d26bd098408d3c4aee06f31b7c0a",
)

ACC = Shared(
    "tensor/acc_3000x150x30000.npz",
    "79ba092ed44d91227d1a780b108bcd9a687500cdddfb91bbbfdd2f81a0fe2802",
)

ALOG = Shared(
    "tensor/alog_200x100x200_5fold.npz",
    "75ada9a0851f5d2d41343f69f10719a94d74a7de29bade90dc3d5bb3894f5dbc",
)

BEIJING = Shared(
    "tensor/beijing_air_15k.npz",
    "319ef3b2ffdda5837e9a6cf4ab65a8d9b42037791aab26b20bb321b415b8aae2",
)

SERVER_ROOM = Shared(
    "tensor/server_room_10k.npz",
    "d56af27cd66d4b11c13a2be798f8ca66c37053cf6f602ed14139390b85060c13",
)

NEWSGROUPS = Shared(
    "text/20newsgroups_bow_etm.npz",
    "a15cccd79a6d31ae00a8c602b564606da42400bf2d7343d2b1378b989598f356",
)

SHAKESPEARE = Shared(
    "text/tinyshakespeare.txt.xz",
    "d2476529549e2da7ec5dd2530f028856808ec42fec335c232268c9c6af463bc6",
)

UCI_EVANS = Shared(
    "uci/uci_evans.zip",
    "56b9800b73a7a91f3f16d653683e8b36b6916da08a6147ee59c2203d1df32e9f",
)

UCI_SPLITS = Shared(
    "uci/uci_regression_gal_hernandezlobato_splits.npz",
    "d15e5055b615a7fd5186090165abe5cf2ffb4c48929921d90f83445f6d46aab1",
)


RADON = (
    Bundled("arviz", "data/example_data/code/radon/radon.json"),
    Download(
        "https://raw.githubusercontent.com/arviz-devs/arviz/7d75b5a67294406b22f767cec6bf8e1e20cad81f/arviz/data/"
        "example_data/code/radon/radon.json",
        "5f0a62c8646baa404fd36cd6cf4d2ceb3f9dd3456ffef4aa7f1ed92e56f8973d",
        24_382,
    ),
)
QPCR_ORIGINAL = Download(
    "https://raw.githubusercontent.com/sods/ods/f62e5b8397d00eece211852e0b778d6d8f5c5e0f/datasets/guo_qpcr.csv",
    QPCR.sha256,
    269_647,
)
SHAKESPEARE_ORIGINAL = Download(
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/"
    "tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    1_115_394,
)
BREAST_CANCER = Bundled("sklearn", "datasets/data/breast_cancer.csv")
DIGITS = Bundled("sklearn", "datasets/data/digits.csv.gz")
