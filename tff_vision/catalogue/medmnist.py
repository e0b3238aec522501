"""What MedMNIST 3.0.2 says of its twelve 2-D sets (Yang et al. 2023, doi:10.1038/s41597-022-01721-8)."""

import dataclasses
from collections.abc import Mapping

_ORGANS = ('bladder', 'femur-left', 'femur-right', 'heart', 'kidney-left', 'kidney-right', 'liver', 'lung-left',
           'lung-right', 'pancreas', 'spleen')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MedicalSet:
  """One set.

  Attributes:
    class_names: The classes in label order; for a multi-label set, its findings.
    channels: 1 or 3.
    images: The numbers of training, validation and test images.
    md5: The MD5 digests of the files with 28, 64, 128 and 224 pixels.
    multi_label: Whether an image may have any number of findings.
    commercial: Whether its licence, CC BY 4.0 instead of CC BY-NC 4.0, allows commercial use.
  """
  class_names: tuple[str, ...]
  channels: int
  images: tuple[int, int, int]
  md5: tuple[str, str, str, str]
  multi_label: bool = False
  commercial: bool = True

  @property
  def licence(self) -> str:
    return 'CC BY 4.0' if self.commercial else 'CC BY-NC 4.0: not for commercial use'


SETS: Mapping[str, MedicalSet] = {
    'pathmnist': MedicalSet(
        class_names=('adipose', 'background', 'debris', 'lymphocytes', 'mucus', 'smooth muscle',
                     'normal colon mucosa', 'cancer-associated stroma', 'colorectal adenocarcinoma epithelium'),
        channels=3, images=(89996, 10004, 7180),
        md5=('a8b06965200029087d5bd730944a56c1', '55aa9c1e0525abe5a6b9d8343a507616',
             'ac42d08fb904d92c244187169d1fd1d9', '2c51a510bcdc9cf8ddb2af93af1eadec')),
    'chestmnist': MedicalSet(
        class_names=('atelectasis', 'cardiomegaly', 'effusion', 'infiltration', 'mass', 'nodule', 'pneumonia',
                     'pneumothorax', 'consolidation', 'edema', 'emphysema', 'fibrosis', 'pleural', 'hernia'),
        channels=1, images=(78468, 11219, 22433), multi_label=True,
        md5=('02c8a6516a18b556561a56cbdd36c4a8', '9de6cd0b934ebb5b7426cfba5efbae16',
             'db107e5590b27930b62dbaf558aebee3', '45bd33e6f06c3e8cdb481c74a89152aa')),
    'dermamnist': MedicalSet(
        class_names=('actinic keratoses and intraepithelial carcinoma', 'basal cell carcinoma',
                     'benign keratosis-like lesions', 'dermatofibroma', 'melanoma', 'melanocytic nevi',
                     'vascular lesions'),
        channels=3, images=(7007, 1003, 2005), commercial=False,
        md5=('0744692d530f8e62ec473284d019b0c7', 'b70a2f5635c6199aeaa28c31d7202e1f',
             '2defd784463fa5243564e855ed717de1', '8974907d8e169bef5f5b96bc506ae45d')),
    'octmnist': MedicalSet(
        class_names=('choroidal neovascularization', 'diabetic macular edema', 'drusen', 'normal'),
        channels=1, images=(97477, 10832, 1000),
        md5=('c68d92d5b585d8d81f7112f81e2d0842', 'e229e9440236b774d9f0dfef9d07bdaf',
             '0a97e76651ace45c5d943ee3f65b63ae', 'abc493b6d529d5de7569faaef2773ba3')),
    'pneumoniamnist': MedicalSet(
        class_names=('normal', 'pneumonia'),
        channels=1, images=(4708, 524, 624),
        md5=('28209eda62fecd6e6a2d98b1501bb15f', '8f4eceb4ccffa70c672198ea285246c6',
             '05b46931834c231683c68f40c47b2971', 'd6a3c71de1b945ea11211b03746c1fe1')),
    'retinamnist': MedicalSet(
        class_names=('grade 0', 'grade 1', 'grade 2', 'grade 3', 'grade 4'),
        channels=3, images=(1080, 120, 400),
        md5=('bd4c0672f1bba3e3a89f0e4e876791e4', 'afda852cc34dcda56f86ad2b2457dbcc',
             'e48e916a24454daf90583d4e6efb1a18', 'eae7e3b6f3fcbda4ae613ebdcbe35348')),
    'breastmnist': MedicalSet(
        class_names=('malignant', 'normal, benign'),
        channels=1, images=(546, 78, 156),
        md5=('750601b1f35ba3300ea97c75c52ff8f6', '742edef2a1fd1524b2efff4bd7ba9364',
             '363e4b3f8d712e9b5de15470a2aaadf1', 'b56378a6eefa9fed602bb16d192d4c8b')),
    'bloodmnist': MedicalSet(
        class_names=('basophil', 'eosinophil', 'erythroblast',
                     'immature granulocytes (myelocytes, metamyelocytes and promyelocytes)', 'lymphocyte',
                     'monocyte', 'neutrophil', 'platelet'),
        channels=3, images=(11959, 1712, 3421),
        md5=('7053d0359d879ad8a5505303e11de1dc', '2b94928a2ae4916078ca51e05b6b800b',
             'adace1e0ed228fccda1f39692059dd4c', 'b718ff6835fcbdb22ba9eacccd7b2601')),
    'tissuemnist': MedicalSet(
        class_names=('Collecting Duct, Connecting Tubule', 'Distal Convoluted Tubule',
                     'Glomerular endothelial cells', 'Interstitial endothelial cells', 'Leukocytes', 'Podocytes',
                     'Proximal Tubule Segments', 'Thick Ascending Limb'),
        channels=1, images=(165466, 23640, 47280),
        md5=('ebe78ee8b05294063de985d821c1c34b', '123ece2eba09d0aa5d698fda57103344',
             '61b955355d7425a89687b06cca3ce0c2', 'b077128c4a949f0a4eb01517f9037b9c')),
    'organamnist': MedicalSet(
        class_names=_ORGANS,
        channels=1, images=(34561, 6491, 17778),
        md5=('68e3f8846a6bd62f0c9bf841c0d9eacc', '2dcccc29b88e6da5a01161ef20cda288',
             'eeae80d0a227a8d099027e1b3cfd3b60', '50747347e05c87dd3aaf92c49f9f3170')),
    'organcmnist': MedicalSet(
        class_names=_ORGANS,
        channels=1, images=(12975, 2392, 8216),
        md5=('b9ceb9546e10131b32923c5bbeaea2b1', '3ce34a8724ea6f548e6db4744d03b6a9',
             '773c1f009daa3fe5d9a2a201b2a7ed94', '050f5e875dc056f6768abf94ec9995d1')),
    'organsmnist': MedicalSet(
        class_names=_ORGANS,
        channels=1, images=(13932, 2452, 8827),
        md5=('9ab87b696fb54e2a387ebe992d6ed5f1', '53a6d115339d874c25e309a994ff46d3',
             'ded0c5fa01a95dc4978b956f613e9b8e', 'b354719e553fbbb2513d5533f52a4cb1')),
}
